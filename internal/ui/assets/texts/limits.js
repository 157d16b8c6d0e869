// The words of the page /admin/limits.

export default {
  title: "Limits",
  intro: "How much the account may have, and how much of that it has.",
  docs: "All limits, and how a program recognises them",
  name: "Limit",
  used: "Used",
  most: "At most",
  share: "Share",
  none: "No limit of the account",
  atLeast: (n) => `${n}+`,
  percent: (p) => `${p} %`,
  near: "nearly reached",
  export: "Export",
  names: {
    users: "Users",
    apps: "Apps",
    subscriptions: "Subscriptions",
    streams: "Streams open at a time, on each node",
  },
  rates: "Rates",
  plan: (plan) => `The account has the plan ${plan}.`,
  serverPlan: "The account has the plan of the server.",
  ratesExplained: "The plan limits how many requests Zoom’s API takes in a second and a day. Changes through the native API are counted by the minute for each user, app, account and address: every answer to a change says in its header RateLimit how many are left.",
  operator: "The operator of the server changes the limits: those of the account with “porchlight system account update”, and the others in the settings.",
};
