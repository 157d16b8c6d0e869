// The words of the page /admin/limits.

export default {
  title: "Limits",
  intro: "The limits of the account, and how much of each is used.",
  docs: "All limits, and how a program recognises them",
  name: "Limit",
  used: "Used",
  most: "At most",
  share: "Share",
  none: "No limit",
  atLeast: (n) => `${n}+`,
  percent: (p) => `${p} %`,
  near: "nearly reached",
  export: "Export",
  names: {
    users: "Users",
    apps: "Apps",
    subscriptions: "Subscriptions",
    streams: "Open streams, on each node",
  },
  rates: "Rates",
  plan: (plan) => `The account has the plan ${plan}.`,
  serverPlan: "The account has the server’s default plan.",
  ratesExplained: "The plan limits the requests to Zoom’s API in each second and each day. Changes through Porchlight’s own API are limited in each minute, for each user, app, account and address. The header RateLimit of the response to a change says how many more are possible.",
  operator: "Only the operator of the server can change limits: those of the account with “porchlight system account update”, the others in the server’s settings.",
};
