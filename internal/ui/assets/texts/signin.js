export default {
  title: "Sign in",
  with: (provider) => `Sign in with ${provider}`,
  or: "or",
  email: "E-mail address",
  password: "Password",
  account: "Account",
  accountHint: "Only if your administrator gave you one.",
  signIn: "Sign in",
  forgot: "Forgot your password? Ask an administrator for a link with which you can choose a new one.",
  wait: (why, seconds) => `${why} Try again in ${seconds} seconds.`,
};
