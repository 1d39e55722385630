// Cost against pass rate, and latency: each figure is also in a table below.

const MARGIN = { top: 26, right: 24, bottom: 44, left: 56 };
const LABEL_HEIGHT = 14;
const MOST_MOVED = 3 * LABEL_HEIGHT;
const WIDE_RANGE = 20;

function canvas(place, height, label) {
  const width = Math.max(280, place.clientWidth || 480);
  place.replaceChildren();
  const svg = d3
    .select(place)
    .append("svg")
    .attr("viewBox", `0 0 ${width} ${height}`)
    .attr("width", width)
    .attr("height", height)
    .attr("role", "img")
    .attr("aria-label", label);
  return { svg, width };
}

function say(place, text) {
  const note = document.createElement("p");
  note.className = "facts";
  note.textContent = text;
  place.replaceChildren(note);
}

function axisTitle(svg, x, y, text, anchor = "middle") {
  svg.append("text").attr("class", "axis-title").attr("x", x).attr("y", y).attr("text-anchor", anchor).text(text);
}

// Only a logarithmic scale leaves out what has no room when it is given the form of its ticks.
function axisBelow(x, isWide, number, form) {
  const axis = d3.axisBottom(x).tickSizeOuter(0);
  return isWide ? axis.ticks(4, (value) => form(value)) : axis.ticks(number).tickFormat((value) => form(value));
}

// The runtimes that no other beats on cost and pass rate at once, from cheap to dear.
function front(points) {
  const sorted = [...points].sort((one, other) => one.cost - other.cost || other.rate - one.rate);
  let best = -1;
  return sorted.filter((point) => point.rate > best && ((best = point.rate), true));
}

function drawPareto(place, points) {
  const priced = points.filter((point) => point.cost != null);
  if (!priced.length) return say(place, "No runtime has a known price.");
  const height = 320;
  const described = priced.map((each) => `${visible(each.runtime)}: ${each.shown}`);
  const { svg, width } = canvas(place, height, `Pass rate by cost of 1,000 cases. ${described.join("; ")}`);
  const costs = priced.map((each) => each.cost);
  const positive = costs.filter((cost) => cost > 0);
  const isWide = positive.length === costs.length && d3.max(costs) / d3.min(costs) > WIDE_RANGE;
  const most = d3.max(costs) || 1;
  const x = (isWide ? d3.scaleLog().domain([d3.min(costs) / 1.6, most * 1.6]) : d3.scaleLinear().domain([0, most * 1.15]))
    .range([MARGIN.left, width - MARGIN.right]);
  const low = d3.min(priced, (each) => each.low);
  const y = d3.scaleLinear().domain([Math.max(0, low - 0.05), 1]).range([height - MARGIN.bottom, MARGIN.top]).nice();
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - MARGIN.bottom})`).call(axisBelow(x, isWide, 5, money));
  svg.append("g").attr("class", "axis").attr("transform", `translate(${MARGIN.left},0)`).call(d3.axisLeft(y).ticks(5, ".0%").tickSizeOuter(0));
  axisTitle(svg, (MARGIN.left + width - MARGIN.right) / 2, height - 6, `list cost of 1,000 cases${isWide ? " (logarithmic)" : ""}`);
  axisTitle(svg, 4, 10, "pass rate", "start");
  svg.append("path").attr("class", "front").attr("d", d3.line().x((each) => x(each.cost)).y((each) => y(each.rate))(front(priced)));
  const marks = svg.selectAll("g.point").data(priced).join("g").attr("class", (each) => `point ${each.baseline ? "baseline" : "challenger"}`);
  marks.append("line").attr("class", "range").attr("x1", (each) => x(each.cost)).attr("x2", (each) => x(each.cost))
    .attr("y1", (each) => y(each.low)).attr("y2", (each) => y(each.high));
  marks.append("path").attr("d", (each) => d3.symbol(each.baseline ? d3.symbolSquare : d3.symbolCircle, 90)())
    .attr("transform", (each) => `translate(${x(each.cost)},${y(each.rate)})`);
  marks.append("title").text((_, number) => described[number]);
  const named = new Set(front(priced));
  const names = priced.map((each) => ({
    text: visible(each.runtime), x: x(each.cost), y: y(each.rate), first: each.baseline || named.has(each),
  }));
  const unnamed = labels(svg, names, width);
  if (unnamed) d3.select(place).append("p").attr("class", "facts").text(`${unnamed} more without room for their names: point at a mark.`);
}

// Names beside their marks, moved apart where they would cover each other: what must be named first. A name that
// would come to stand far from its mark is left out. Returns how many are.
function labels(svg, wanted, width) {
  const placed = [];
  for (const label of [...wanted].sort((one, other) => other.first - one.first || one.y - other.y)) {
    const isRight = label.x < width * 0.62;
    const near = placed.filter((other) => Math.abs(other.x - label.x) < 140).sort((one, other) => one.at - other.at);
    let at = label.y + 4;
    for (const other of near) if (Math.abs(other.at - at) < LABEL_HEIGHT) at = other.at + LABEL_HEIGHT;
    if (!label.first && at > label.y + 4 + MOST_MOVED) continue;
    placed.push({ ...label, at });
    svg.append("text").attr("class", "point-name").attr("x", label.x + (isRight ? 10 : -10)).attr("y", at)
      .attr("text-anchor", isRight ? "start" : "end").text(label.text);
  }
  return wanted.length - placed.length;
}

function drawLatency(place, points) {
  const timed = points.filter((each) => each.latency);
  if (!timed.length) return say(place, "No latency was recorded.");
  const rowHeight = 44;
  const height = MARGIN.top + timed.length * rowHeight + MARGIN.bottom;
  const described = timed.map((each) => `${visible(each.runtime)}: median ${each.latency.median}, ${each.latency.few ? "maximum" : "p95"} ${each.latency.slow}`);
  const { svg, width } = canvas(place, height, `Latency of a case. ${described.join("; ")}`);
  const least = d3.min(timed, (each) => each.latency.low);
  const most = d3.max(timed, (each) => each.latency.high);
  const isWide = least > 0 && most / least > WIDE_RANGE;
  const left = 12;
  const x = (isWide ? d3.scaleLog().domain([least / 1.2, most * 1.2]) : d3.scaleLinear().domain([0, most * 1.05 || 1]))
    .range([left, width - MARGIN.right]);
  const bottom = height - MARGIN.bottom;
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${bottom})`)
    .call(axisBelow(x, isWide, 6, (value) => `${d3.format("~s")(value)}s`));
  axisTitle(svg, (left + width - MARGIN.right) / 2, height - 6, `latency${isWide ? " (logarithmic)" : ""}`);
  const rows = svg.selectAll("g.row").data(timed).join("g").attr("class", (each) => `row ${each.baseline ? "baseline" : "challenger"}`)
    .attr("transform", (_, number) => `translate(0,${MARGIN.top + number * rowHeight})`);
  const middle = rowHeight - 14;
  rows.append("text").attr("class", "point-name").attr("x", left).attr("y", 12)
    .text((each) => `${visible(each.runtime)} · p50 ${each.latency.median} · n ${each.latency.n.toLocaleString("en")}`);
  rows.append("line").attr("class", "range").attr("x1", (each) => x(each.latency.low)).attr("x2", (each) => x(each.latency.high)).attr("y1", middle).attr("y2", middle);
  rows.append("rect").attr("class", "bar").attr("x", (each) => x(each.latency.p25)).attr("y", middle - 7).attr("height", 14)
    .attr("width", (each) => Math.max(2, x(each.latency.p75) - x(each.latency.p25)));
  rows.append("line").attr("class", "median").attr("x1", (each) => x(each.latency.p50)).attr("x2", (each) => x(each.latency.p50)).attr("y1", middle - 10).attr("y2", middle + 10);
}

function startCharts() {
  const pareto = document.getElementById("pareto");
  if (!pareto) return;
  const choice = document.getElementById("chart-of");
  const draw = () => {
    const { points } = facts.charts[Number(choice?.value ?? 0)];
    drawPareto(pareto, points);
    drawLatency(document.getElementById("latency"), points);
  };
  if (choice) {
    document.getElementById("chart-choice").hidden = false;
    choice.addEventListener("change", draw);
  }
  let width = 0;
  new ResizeObserver(() => {
    if (pareto.clientWidth === width) return;
    width = pareto.clientWidth;
    draw();
  }).observe(pareto);
}
