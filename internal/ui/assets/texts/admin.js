// The words of the pages below /admin that more than one of them shows, and the names of the
// sections.

export default {
  administration: "Administration",
  noSuchPage: "There is no such page, or you may not see it.",
  overview: "Overview",
  users: "Users",
  groups: "Groups",
  apps: "Apps",
  tokens: "Tokens",
  subscriptions: "Subscriptions",
  audit: "Audit log",
  limits: "Limits",
  health: "Health",
};
