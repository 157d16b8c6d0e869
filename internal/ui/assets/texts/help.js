export default {
  search: "Search the documentation",
  found: (n) => (n === 0 ? "Nothing was found." : n === 1 ? "1 section" : `${n} sections`),
  failed: (why) => `The search failed: ${why}`,
};
