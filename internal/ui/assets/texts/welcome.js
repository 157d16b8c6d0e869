export default {
  title: "Choose your password",
  password: "New password",
  hint: "At least 8 characters.",
  again: "The same password again",
  choose: "Save and sign in",
  different: "The two passwords do not match.",
  incomplete: "This page works only with the complete link from your administrator. Open that link again.",
  elsewhere: "Ask your administrator for a new link, or sign in with your current password.",
  signIn: "Sign in",
};
