export default {
  title: "Sign in",
  with: (provider) => `Sign in with ${provider}`,
  or: "or",
  email: "E-mail address",
  password: "Password",
  account: "Account",
  accountHint: "Enter the account’s id if several accounts have your e-mail address. Your administrator knows it.",
  signIn: "Sign in",
  forgot: "Forgot your password? Ask an administrator for a password reset link.",
  wait: (why, seconds) => `${why} Try again in ${seconds} seconds.`,
};
