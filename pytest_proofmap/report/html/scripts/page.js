// The page itself: filters of the matrix, folded slices, light and dark.

function startMatrix() {
  const table = document.querySelector("table.matrix");
  const columns = [...document.querySelectorAll(".matrix [data-runtime]")];
  const baselines = new Set([...document.querySelectorAll(".matrix thead th[data-runtime]")].filter((each) => each.querySelector(".slice")).map((each) => each.dataset.runtime));
  const bodies = [...(table?.tBodies ?? [])].map((body) => ({
    body,
    rows: [...body.rows].slice(1).map((row) => ({ row, cells: [...row.cells].filter((cell) => cell.dataset.runtime) })),
  }));
  const unfolded = new Set();
  const links = new Map();
  for (const link of document.querySelectorAll(".matrix a")) links.set(link.getAttribute("href"), link);

  function tells({ cells }, wanted) {
    const seen = cells.filter((cell) => !cell.hidden);
    if (wanted.verdict && !seen.some((cell) => cell.dataset.status === wanted.verdict)) return false;
    return wanted.show !== "flips" || seen.some((cell) => cell.dataset.flips);
  }

  // Slices are folded away, but for the one that is asked for and those that alone have the verdict that is.
  function shownRows(rows, wanted) {
    const sliced = new Set(rows.filter(({ row }) => row.dataset.slice).map(({ row }) => row.dataset.criterion));
    const telling = rows.filter((each) => tells(each, wanted));
    const whole = new Set(telling.filter(({ row }) => !row.dataset.slice).map(({ row }) => row.dataset.criterion));
    const shown = telling.filter(({ row: { dataset: { slice, criterion } } }) => {
      if (wanted.slice) return slice === wanted.slice || !sliced.has(criterion);
      return !slice || unfolded.has(criterion) || (wanted.verdict && !whole.has(criterion));
    });
    // A slice means nothing without the criterion above it.
    const criteria = new Set(shown.map(({ row }) => row.dataset.criterion));
    return new Set([...shown, ...rows.filter(({ row }) => !row.dataset.slice && criteria.has(row.dataset.criterion))]);
  }

  function apply(wanted) {
    // An opened cell chooses cases; the matrix around it stays.
    const narrowing = wanted.criterion ? { runtime: "", slice: "", verdict: "", show: "" } : wanted;
    for (const cell of columns) {
      const { runtime } = cell.dataset;
      cell.hidden = Boolean(narrowing.runtime) && runtime !== narrowing.runtime && !baselines.has(runtime);
    }
    let any = false;
    for (const { body, rows } of bodies) {
      const shown = shownRows(rows, narrowing);
      for (const each of rows) each.row.hidden = !shown.has(each);
      body.hidden = !shown.size;
      any ||= shown.size > 0;
    }
    document.getElementById("no-rows")?.toggleAttribute("hidden", any);
    document.querySelector(".matrix [aria-current]")?.removeAttribute("aria-current");
    links.get(addressOf({ criterion: wanted.criterion, runtime: wanted.runtime, slice: wanted.slice }))?.setAttribute("aria-current", "true");
  }

  for (const button of document.querySelectorAll("button.fold")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const { criterion } = button.closest("tr").dataset;
      const opens = !unfolded.delete(criterion);
      if (opens) unfolded.add(criterion);
      button.setAttribute("aria-expanded", String(opens));
      apply(filters);
    });
  }
  onLook(apply);
  apply(filters);
}

function startFilters() {
  const form = document.getElementById("filters");
  const show = (wanted) => {
    for (const name of ["runtime", "slice", "verdict", "show", "q"]) {
      if (form.elements[name].value !== wanted[name]) form.elements[name].value = wanted[name];
    }
  };
  let pending = 0;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    clearTimeout(pending);
    if (target.name !== "q") return look({ [target.name]: target.value, case: "" });
    pending = setTimeout(() => look({ q: target.value, case: "" }, { quietly: true }), 200);
  });
  document.getElementById("clear").addEventListener("click", () => look(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
  onLook(show);
  show(filters);
  // The bar may take several lines: what is scrolled to must not lie behind it.
  new ResizeObserver(() => {
    const covered = getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0;
    document.documentElement.style.scrollPaddingTop = `${covered + 8}px`;
  }).observe(form);
}

function startTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => (button.textContent = isDark() ? "Light" : "Dark");
  try {
    const kept = localStorage.getItem("proofmap-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch {
    // A browser may keep nothing for a file.
  }
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    try {
      localStorage.setItem("proofmap-theme", root.dataset.theme);
    } catch {
      // As above.
    }
  });
  name();
}

function startCases() {
  const heading = document.getElementById("cases");
  const follow = () => {
    document.getElementById("cases-section").scrollIntoView();
    heading.focus({ preventScroll: true });
  };
  render(html`<${Cases} />`, document.getElementById("case-list"));
  onLook((wanted, how) => how.follow && wanted.criterion && follow());
  if (filters.criterion || filters.case) follow();
}

startTheme();
startFilters();
startMatrix();
// What is seen first is painted before texts are unpacked and charts drawn.
requestAnimationFrame(() => setTimeout(() => { startCases(); startCharts(); }));
