// What the page holds: facts at once, the cases of a criterion and their texts when they are looked at.

const facts = JSON.parse(document.getElementById("facts").textContent);
const BLOCKS_KEPT = 12;
const indexes = new Map();
const blocks = new Map();

async function unpack(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// The cases of a criterion: ids, slices, and outcomes and messages by runtime.
function loadIndex(number) {
  if (!indexes.has(number)) indexes.set(number, unpack(`index-${number}`));
  return indexes.get(number);
}

// Prompts and answers of some cases. The last few blocks stay unpacked.
function loadBlock(number) {
  const known = blocks.get(number) ?? unpack(`block-${number}`);
  blocks.delete(number);
  blocks.set(number, known);
  if (blocks.size > BLOCKS_KEPT) blocks.delete(blocks.keys().next().value);
  return known;
}

const criterionNumber = new Map(facts.criteria.map((each, number) => [each.id, number]));
