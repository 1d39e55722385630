// What the reader looks at, kept behind the # of the address: a link shows the same, and so does a reload.

const FILTERS = ["criterion", "runtime", "slice", "verdict", "show", "q", "case"];
const listeners = [];
let filters = parseFilters();

function parseFilters() {
  const found = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(FILTERS.map((name) => [name, found.get(name) ?? ""]));
}

function addressOf(wanted) {
  const parts = FILTERS.filter((name) => wanted[name]).map((name) => `${name}=${encodeURIComponent(wanted[name])}`);
  return "#" + parts.join("&");
}

// A change typed letter by letter must not fill the history.
function look(changes, { quietly = false } = {}) {
  filters = { ...filters, ...changes };
  const address = addressOf(filters);
  history[quietly ? "replaceState" : "pushState"](null, "", address === "#" ? location.pathname + location.search : address);
  tell({ follow: false });
}

function tell(how) {
  for (const listener of listeners) listener(filters, how);
}

function onLook(listener) {
  listeners.push(listener);
}

addEventListener("hashchange", () => {
  // An address without a filter is a place on the page.
  if (location.hash && !location.hash.includes("=")) return;
  filters = parseFilters();
  tell({ follow: true });
});
addEventListener("popstate", () => {
  if (location.hash) return; // hashchange follows
  filters = parseFilters();
  tell({ follow: false });
});
