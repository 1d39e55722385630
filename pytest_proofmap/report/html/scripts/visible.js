// Text from outside, safe to show: nothing in it turns the direction of writing or hides.

const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]" +
    "|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
  "g",
);

function visible(text) {
  return text.replace(HIDDEN, (found) => "\\u" + found.charCodeAt(0).toString(16).padStart(4, "0"));
}

// The page holds long texts cut, as {text, more}.
function textOf(embedded) {
  if (embedded == null) return "";
  if (typeof embedded === "string") return visible(embedded);
  if (typeof embedded.text === "string" && "more" in embedded) {
    return visible(embedded.text) + `\n[… ${embedded.more.toLocaleString("en")} more characters are in the artifact]`;
  }
  return visible(JSON.stringify(embedded, null, 2));
}

// Money and durations of single calls, with the digits that figures.py gives to all others.
function money(usd) {
  if (usd == null) return "cost unknown";
  if (usd === 0) return "$0";
  if (usd >= 100) return "$" + Math.round(usd).toLocaleString("en");
  const digits = usd >= 1 ? 2 : Math.max(2, 1 - Math.floor(Math.log10(usd)));
  return digits > 6 ? "<$0.000001" : "$" + usd.toFixed(digits);
}

function seconds(value) {
  if (value == null) return "latency not recorded";
  if (value < 0.0005) return "<1 ms";
  return value < 0.0995 ? `${(1000 * value).toFixed(0)} ms` : value < 9.95 ? `${value.toFixed(2)} s` : `${value.toFixed(1)} s`;
}
