export default {
  allowApp: (app) => `Allow ${app}?`,
  signedInAs: "You are signed in as",
  of: "of",
  wants: "The app wants to:",
  allow: "Allow",
  deny: "Deny",
  returns: (address) => `Next, you return to ${address}. You can end the app’s access at any time on your page “Account”.`,

  device: "Connect a device",
  code: "Code shown on the device",
  continue: "Continue",
  deviceWants: (code) => `The device that shows ${code} wants to:`,
  warning: "Allow this only if you have the device in front of you and started this yourself. If somebody else sent you the code or a link to this page, choose “Deny”. Otherwise, that person gets this access.",
  allowed: (app) => `${app} has access. You can close this page and go back to the device.`,
  denied: "Access was denied. You can close this page.",
};
