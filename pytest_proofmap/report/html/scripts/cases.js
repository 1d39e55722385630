// The list of cases, and a case opened: the prompt once, and two answers side by side.

const { h, render } = preact;
const { useEffect, useMemo, useRef, useState } = preactHooks;
const html = htm.bind(h);
const PAGE_OF_ROWS = 25;
const DIFFERENCE_MS = 300;
const ALIKE = 0.4;

function Badge({ kind }) {
  const { word, sign, tone } = KINDS[kind];
  return html`<span class=${`verdict ${tone}`}><span aria-hidden="true">${sign}</span> ${word}</span>`;
}

const OUTCOMES = { passed: "✓ passed", failed: "✗ failed", error: "? unavailable", broken: "! test error", skipped: "- skipped", spared: "- not asked" };

// Two texts with what differs marked; as they are where that would take too long, or mark nearly everything.
function marked(left, right) {
  const parts = Diff.diffWordsWithSpace(left, right, { timeout: DIFFERENCE_MS }) ?? [];
  const common = parts.reduce((sum, part) => sum + (part.added || part.removed ? 0 : part.value.length), 0);
  if (common < ALIKE * Math.max(left.length, right.length)) return [left, right];
  return [
    parts.filter((part) => !part.added).map((part) => (part.removed ? html`<del>${part.value}</del>` : part.value)),
    parts.filter((part) => !part.removed).map((part) => (part.added ? html`<ins>${part.value}</ins>` : part.value)),
  ];
}

function Prompt({ prompt, open, title }) {
  const box = useRef(null);
  // What tells one case from another is mostly said last.
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [prompt]);
  if (!prompt) return null;
  const { messages = [], ...rest } = prompt;
  return html`<details class="prompt" open=${open}>
    <summary>${title}</summary>
    <div class="messages" ref=${box} tabindex="0" role="group" aria-label=${title}>
    ${messages.map(
      (message) => html`<p class="speaker">${visible(String(message.role ?? ""))}</p>
        <${Content} content=${message.content} />
        ${message.tool_calls ? html`<pre dir="auto">${textOf(message.tool_calls)}</pre>` : null}`,
    )}
    </div>
    ${Object.keys(rest).length ? html`<p class="facts">with ${visible(JSON.stringify(rest))}</p>` : null}
  </details>`;
}

function Content({ content }) {
  if (content == null || content === "") return null;
  const parts = Array.isArray(content) ? content : [content];
  return parts.map(
    (part) => html`<pre dir="auto">${textOf(part?.type === "text" ? part.text : part)}</pre>`,
  );
}

function CallFacts({ call }) {
  const tokens =
    call.input == null ? "tokens unknown" : `${call.estimated ? "~" : ""}${call.input} in, ${call.output ?? "?"} out`;
  const cached = call.cached ? ` (${call.cached} from the provider's cache)` : "";
  const items = [
    call.runtime ? `auxiliary: ${call.runtime}` : null,
    call.model,
    tokens + cached,
    money(call.cost),
    seconds(call.latency),
    call.source === "live" ? "live" : `from ${call.source === "cache" ? "the cache" : "a recording"}`,
    call.attempts > 1 ? `${call.attempts} attempts` : null,
    call.finish && call.finish !== "stop" ? `ended by ${call.finish}` : null,
    call.package ? `prompt ${call.package}` : null,
  ];
  return html`<p class="facts">${items.filter(Boolean).map(visible).join(" · ")}</p>`;
}

function Answer({ call, text }) {
  return html`<div class="answer">
    ${call.error ? html`<p class="error">${visible(call.error)}</p>` : null}
    ${call.text ? html`<pre dir="auto" tabindex="0">${text}</pre>` : call.error || call.tools ? null : html`<p class="facts">an empty answer</p>`}
    ${call.tools ? html`<pre dir="auto" tabindex="0" class="tools">${textOf(call.tools)}</pre>` : null}
    <${CallFacts} call=${call} />
  </div>`;
}

function Side({ title, samples, sample, texts }) {
  const passed = samples.filter((each) => each.outcome === "passed").length;
  return html`<div class="side">
    <h3>${title}</h3>
    ${sample
      ? html`<p><strong>${OUTCOMES[sample.outcome]}</strong>${sample.latency != null ? ` in ${seconds(sample.latency)}` : ""}${samples.length > 1 ? ` · sample ${samples.indexOf(sample) + 1}; ${passed} of ${samples.length} passed` : ""}</p>
          ${textOf(sample.message) ? html`<pre class="message" dir="auto" tabindex="0">${textOf(sample.message)}</pre>` : null}
          ${sample.calls.map((call, number) => html`<${Answer} call=${call} text=${texts[number]} />`)}
          ${sample.calls.length ? null : html`<p class="facts">no call was made</p>`}`
      : html`<p class="facts">was not asked</p>`}
  </div>`;
}

function columnTitle(column) {
  const name = visible(column.runtime);
  if (facts.comparison) return `${column.before ? "OLD" : "NEW"}: ${name}`;
  return `${column.baseline ? "Baseline" : "Challenger"}: ${name}`;
}

function firstNonPass(samples) {
  const place = samples.findIndex((sample) => ["failed", "error", "broken"].includes(sample.outcome));
  return Math.max(0, place);
}

function Detail({ row }) {
  const [block, setBlock] = useState(null);
  const [beside, setBeside] = useState(row.column.reference);
  const [marks, setMarks] = useState(true);
  const [chosen, setChosen] = useState(null);
  const blockNumber = row.index.blocks[row.at];
  useEffect(() => {
    if (blockNumber >= 0) loadBlock(blockNumber).then(setBlock);
  }, [blockNumber]);
  const sides = useMemo(() => {
    if (!block) return null;
    const columns = block.cases[row.at];
    const own = columns[row.place];
    const number = chosen ?? firstNonPass(own);
    const others = beside == null ? [] : columns[beside];
    return { own, others, number, sample: own[number], other: others[number] ?? others[0] };
  }, [block, beside, chosen]);
  const texts = useMemo(() => {
    if (!sides) return null;
    const answers = (sample) => (sample?.calls ?? []).map((call) => textOf(call.text));
    const left = answers(sides.other);
    const right = answers(sides.sample);
    if (!marks) return [left, right];
    const pairs = right.map((text, number) => (left[number] ? marked(left[number], text) : [null, text]));
    return [left.map((text, number) => pairs[number]?.[0] ?? text), pairs.map((pair) => pair[1])];
  }, [sides, marks]);
  if (blockNumber < 0) {
    return html`<p class="facts">There was no room for the prompts and answers of this case. They are in the artifact.</p>`;
  }
  if (!sides) return html`<p class="facts" role="status">unpacking…</p>`;
  const { sample, other } = sides;
  const promptOf = (call) => (call?.prompt == null ? null : block.prompts[call.prompt]);
  const calls = sample?.calls ?? [];
  const otherCalls = other?.calls ?? [];
  const shared = calls[0]?.prompt === otherCalls[0]?.prompt || !otherCalls.length;
  return html`<div class="detail">
    <div class="controls">
      ${sides.own.length > 1
        ? html`<label>Sample <select value=${sides.number} onChange=${(event) => setChosen(Number(event.target.value))}>
            ${sides.own.map((each, number) => html`<option value=${number}>${number + 1}: ${OUTCOMES[each.outcome]}</option>`)}
          </select></label>`
        : null}
      <label>Beside <select value=${beside ?? ""} onChange=${(event) => setBeside(event.target.value === "" ? null : Number(event.target.value))}>
        <option value="">nothing</option>
        ${row.index.columns.map((column, place) => (place === row.place ? null : html`<option value=${place}>${columnTitle(column)}</option>`))}
      </select></label>
      <label><input type="checkbox" checked=${marks} onChange=${(event) => setMarks(event.target.checked)} /> mark what differs in similar answers</label>
    </div>
    ${shared
      ? html`<${Prompt} prompt=${promptOf(calls[0] ?? otherCalls[0])} open=${true} title="Prompt" />`
      : html`<div class="sides">
          <${Prompt} prompt=${promptOf(otherCalls[0])} open=${true} title=${`Prompt of ${columnTitle(row.index.columns[beside])}`} />
          <${Prompt} prompt=${promptOf(calls[0])} open=${true} title=${`Prompt of ${columnTitle(row.column)}`} />
        </div>`}
    ${calls.slice(1).map((call, number) => html`<${Prompt} prompt=${promptOf(call)} open=${false} title=${`Prompt of call ${number + 2}`} />`)}
    <div class="sides">
      ${beside == null ? null : html`<${Side} title=${columnTitle(row.index.columns[beside])} samples=${sides.others} sample=${other} texts=${texts[0]} />`}
      <${Side} title=${columnTitle(row.column)} samples=${sides.own} sample=${sample} texts=${texts[1]} />
    </div>
  </div>`;
}

function CaseRow({ row, isOpen, toggle }) {
  const element = useRef(null);
  useEffect(() => {
    if (isOpen) element.current?.scrollIntoView({ block: "nearest" });
  }, []);
  const message = visible(row.message.split("\n", 1)[0]);
  return html`<li ref=${element}>
    <button type="button" class="case" aria-expanded=${isOpen} onClick=${toggle}>
      <${Badge} kind=${row.kind} />
      <span class="name"><span class="criterion-name">${visible(facts.criteria[row.number].label)}</span>[${visible(row.id) || "the only case"}]</span>
      <span class="runtime">${visible(row.column.runtime)}</span>
      ${row.slice ? html`<span class="slice">${visible(row.slice)}</span>` : null}
      ${message ? html`<span class="reason" dir="auto">${message}</span>` : null}
    </button>
    ${isOpen ? html`<${Detail} row=${row} key=${`${row.number}/${row.place}/${row.at}`} />` : null}
  </li>`;
}

// What the cell that was opened says, with the way back.
function CellFacts({ wanted, index }) {
  if (!wanted.criterion) return null;
  const cell = index?.cells.find((each) => each.runtime === wanted.runtime && (each.slice ?? "") === wanted.slice);
  return html`<div class="cell-facts">
    <p><strong>${visible(wanted.criterion)}</strong>${wanted.runtime ? ` on ${visible(wanted.runtime)}` : ""}${wanted.slice ? `, ${visible(wanted.slice)}` : ""}
      ${cell ? html`: ${cell.status ? facts.words[cell.status] : "baseline"}. ${visible(cell.reason)}` : null}</p>
    <button type="button" onClick=${() => look({ criterion: "", runtime: "", slice: "", case: "" })}>All criteria</button>
  </div>`;
}

function caseKey(row) {
  return JSON.stringify([facts.criteria[row.number].id, row.id, row.column.runtime]);
}

function Cases() {
  const [wanted, setWanted] = useState(filters);
  const [found, setFound] = useState({ rows: [], index: null, done: false });
  const [shown, setShown] = useState(PAGE_OF_ROWS);
  useEffect(() => onLook((now) => setWanted(now)), []);
  const { criterion, runtime, slice, verdict, show, q } = wanted;
  useEffect(() => {
    let current = true;
    setShown(PAGE_OF_ROWS);
    (async () => {
      for await (const partial of findRows(wanted)) {
        if (!current) return;
        setFound({ ...partial, of: addressOf({ ...wanted, case: "" }) });
      }
    })();
    return () => {
      current = false;
    };
  }, [criterion, runtime, slice, verdict, show, q]);
  const { rows, done } = found;
  const open = wanted.case;
  // A linked case is listed even when it comes late.
  const opened = rows.findIndex((row) => caseKey(row) === open);
  const limit = Math.max(shown, opened + 1);
  const worse = rows.filter((row) => row.kind === "regression" || row.kind === "worse").length;
  const worseWords = facts.comparison ? ["a change for the worse", "changes for the worse"] : ["a regression", "regressions"];
  const unavailable = rows.filter((row) => row.kind === "unavailable").length;
  const what = wanted.show === "all" ? "case" : wanted.show === "flips" ? "flipped case" : "failing case";
  return html`
    <${CellFacts} wanted=${wanted} index=${found.index} />
    <p role="status" class="facts" data-of=${found.of} data-searching=${done ? null : "yes"}>${rows.length.toLocaleString("en")} ${what}${rows.length === 1 ? "" : "s"}${worse ? `, ${worse.toLocaleString("en")} of them ${worseWords[worse === 1 ? 0 : 1]}` : ""}${unavailable ? `, ${unavailable.toLocaleString("en")} unavailable` : ""}${done ? "" : ", searching…"}</p>
    <ul class="cases">
      ${rows.slice(0, limit).map((row) => {
        const key = caseKey(row);
        return html`<${CaseRow} key=${key} row=${row} isOpen=${key === open} toggle=${() => look({ case: key === open ? "" : key })} />`;
      })}
    </ul>
    ${rows.length > limit ? html`<button type="button" class="more" onClick=${() => setShown(limit + PAGE_OF_ROWS)}>Show ${Math.min(PAGE_OF_ROWS, rows.length - limit)} more of ${(rows.length - limit).toLocaleString("en")}</button>` : null}
  `;
}
