// The status of the user outside the page: title, icon, badge of an installed app, and
// desktop notifications.

import { kind, word } from "../look.js";

const icons = ["available", "away", "busy", "do_not_disturb", "offline", "out_of_office"];

const link = document.querySelector("link[rel=icon]");
const before = { title: document.title, icon: link.href };

// showBadge has the title and the icon of the tab show a status. A badge marks a status that
// asks others not to disturb.
export function showBadge(status) {
  document.title = word(status) + " · Porchlight";
  const icon = icons.includes(status) ? status : kind(status);
  link.href = new URL(`./icons/${icon}.svg`, import.meta.url).href;
  const badge = kind(status) === "busy" ? navigator.setAppBadge : navigator.clearAppBadge;
  badge?.call(navigator).catch(() => {}); // only installed pages have one
}

// hideBadge shows nobody's status.
export function hideBadge() {
  document.title = before.title;
  link.href = before.icon;
  navigator.clearAppBadge?.().catch(() => {});
}

// askToNotify asks for the permission, which needs a click.
export async function askToNotify() {
  if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
}

export function notificationsBlocked() {
  return !("Notification" in window) || Notification.permission === "denied";
}

// notify shows a desktop notification if the user allows it. Some browsers have the class,
// but allow it in service workers only.
export function notify(title, tag) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    const shown = new Notification(title, { tag, icon: new URL("../icon.svg", import.meta.url).href });
    shown.onclick = () => window.focus();
  } catch {
    // The page shows the message too.
  }
}
