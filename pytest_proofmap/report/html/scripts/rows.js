// From filters to a list of cases, the most informative first.

const KINDS = {
  regression: { rank: 0, word: "regression", sign: "✗", tone: "not_qualified" },
  worse: { rank: 0, word: "change for the worse", sign: "✗", tone: "not_qualified" },
  partly: { rank: 1, word: "fails more often", sign: "✗", tone: "not_qualified" },
  alone: { rank: 2, word: "fails", sign: "✗", tone: "not_qualified" },
  both: { rank: 3, word: "both fail", sign: "✗", tone: "not_qualified" },
  refused: { rank: 3, word: "new after the last look", sign: "✗", tone: "none" },
  baseline: { rank: 4, word: "baseline fails", sign: "✗", tone: "not_qualified" },
  broken: { rank: 5, word: "test error", sign: "!", tone: "insufficient" },
  unavailable: { rank: 6, word: "unavailable", sign: "?", tone: "insufficient" },
  improvement: { rank: 7, word: "improvement", sign: "✓", tone: "qualified" },
  better: { rank: 7, word: "change for the better", sign: "✓", tone: "qualified" },
  passed: { rank: 8, word: "passes", sign: "✓", tone: "qualified" },
  skipped: { rank: 9, word: "skipped", sign: "-", tone: "none" },
  repeated: { rank: 10, word: "asks for the same as another", sign: "=", tone: "none" },
};
const FAILED = new Set(["regression", "worse", "partly", "alone", "both", "refused", "baseline", "broken", "unavailable"]);
const FLIPPED = new Set(["regression", "improvement", "worse", "better"]);

function rowsOfIndex(index, number, wanted) {
  const rows = [];
  index.columns.forEach((column, place) => {
    if (column.before || (wanted.runtime && column.runtime !== wanted.runtime)) return;
    const hasVerdict = verdictTest(index, column, wanted);
    index.cases.forEach((id, at) => {
      const slice = index.slices[at];
      if (wanted.slice && slice !== null && slice !== wanted.slice) return;
      if (!hasVerdict(slice)) return;
      const kind = index.kinds[place][at];
      if (kind === null) return;
      if (wanted.show === "flips" ? !FLIPPED.has(kind) : wanted.show !== "all" && !FAILED.has(kind)) return;
      rows.push({ number, index, column, place, at, id, slice, kind, message: index.messages[place][at] ?? "" });
    });
  });
  return rows;
}

// Which cases have the verdict: by their slice, or by the criterion as a whole where no slice is asked for.
function verdictTest(index, column, { verdict, slice: wantedSlice }) {
  if (!verdict) return () => true;
  const found = new Set(index.cells.filter((cell) => cell.runtime === column.runtime && cell.status === verdict).map((cell) => cell.slice));
  return (slice) => found.has(slice) || (!wantedSlice && found.has(null));
}

// Yields growing lists: first what names and messages say, then what is found in prompts and answers.
async function* findRows(wanted) {
  const numbers = wanted.criterion
    ? [criterionNumber.get(wanted.criterion)].filter((number) => number !== undefined)
    : facts.criteria.map((_, number) => number);
  let rows = [];
  for (const number of numbers) rows = rows.concat(rowsOfIndex(await loadIndex(number), number, wanted));
  const index = numbers.length === 1 ? await loadIndex(numbers[0]) : null;
  const ranked = (list) => [...list].sort((one, other) => KINDS[one.kind].rank - KINDS[other.kind].rank);
  const query = wanted.q.trim().toLowerCase();
  if (!query) {
    yield { rows: ranked(rows), index, done: true };
    return;
  }
  const named = (row) => `${facts.criteria[row.number].id}\n${row.id}\n${row.message}`.toLowerCase().includes(query);
  const found = rows.filter(named);
  yield { rows: ranked(found), index, done: false };
  const waiting = new Map();
  for (const row of rows) {
    const block = row.index.blocks[row.at];
    if (block < 0 || named(row)) continue;
    if (!waiting.has(block)) waiting.set(block, []);
    waiting.get(block).push(row);
  }
  let searched = 0;
  for (const [block, candidates] of waiting) {
    const texts = await loadBlock(block);
    found.push(...candidates.filter(matcher(texts, query)));
    searched += 1;
    yield { rows: ranked(found), index, done: searched === waiting.size };
  }
  if (!waiting.size) yield { rows: ranked(found), index, done: true };
}

function matcher(block, query) {
  const asJson = JSON.stringify(query).slice(1, -1);
  const holds = (content) => JSON.stringify(content ?? "").toLowerCase().includes(asJson);
  const prompts = new Set(block.prompts.map((prompt, number) => (holds(prompt) ? number : -1)));
  return (row) => {
    const samples = block.cases[row.at]?.[row.place] ?? [];
    return samples.some(
      (sample) =>
        holds(sample.message) || sample.calls.some((call) => prompts.has(call.prompt) || holds(call.text) || holds(call.tools)),
    );
  };
}
