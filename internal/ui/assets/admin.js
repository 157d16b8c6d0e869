// The pages below /admin, for administrators. Each section is a module of its own, loaded
// when it is opened, and exports the component of its page. The address has what a page
// shows, such as /admin/users?query=ada, so that it can be reloaded, shared and gone back to.

import { useEffect, useRef, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Alert, html } from "./components.js";
import { isAdministrator } from "./session.js";
import texts from "./texts/admin.js";

// sections are the pages in the order of their links. needs is the scope without which a
// section is of no use.
const sections = [
  { path: "/admin", name: texts.overview, load: () => import("./admin/overview.js"), needs: "directory:read:admin" },
  { path: "/admin/users", name: texts.users, load: () => import("./admin/users.js"), needs: "directory:read:admin" },
  { path: "/admin/groups", name: texts.groups, load: () => import("./admin/groups.js"), needs: "directory:read:admin" },
  { path: "/admin/apps", name: texts.apps, load: () => import("./admin/apps.js"), needs: "directory:read:admin" },
  { path: "/admin/tokens", name: texts.tokens, load: () => import("./admin/tokens.js"), needs: "directory:read:admin" },
  { path: "/admin/subscriptions", name: texts.subscriptions, load: () => import("./admin/subscriptions.js"), needs: "subscription:read:admin" },
  { path: "/admin/limits", name: texts.limits, load: () => import("./admin/limits.js"), needs: "directory:read:admin" },
  { path: "/admin/health", name: texts.health, load: () => import("./admin/health.js"), needs: "directory:read:admin" },
  { path: "/admin/audit", name: texts.audit, load: () => import("./admin/audit.js"), needs: "audit:read:admin" },
];

// navigate shows another address of these pages without loading anything again.
export function navigate(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

// useAddress returns the path and the query of the page, as they change.
function useAddress() {
  const read = () => ({ path: location.pathname.replace(/\/$/, ""), query: Object.fromEntries(new URLSearchParams(location.search)) });
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const changed = () => setAddress(read());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return address;
}

// follow keeps links between these pages in this document.
function follow(event) {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.origin !== location.origin || !link.pathname.startsWith("/admin")) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}

function Admin({ me, leave }) {
  const { path, query } = useAddress();
  const shown = sections.filter((s) => me.scopes.includes(s.needs));
  // /admin/users/ID belongs to /admin/users.
  const current = shown.findLast((s) => path === s.path || (s.path !== "/admin" && path.startsWith(s.path + "/")));
  const [page, setPage] = useState({});

  useEffect(() => {
    if (!current) return setPage({ problem: texts.noSuchPage });
    document.title = `${current.name} · Porchlight`;
    let wanted = true; // the scripts of a section that was left may arrive after those of the next
    current.load().then(
      (module) => wanted && setPage({ path: current.path, Component: module.default }),
      () => wanted && location.reload(), // the server has another version now
    );
    return () => {
      wanted = false;
    };
  }, [current?.path]);

  const links = useRef(null);
  useEffect(() => {
    // On a phone, the links are one line that scrolls.
    const link = links.current.querySelector("[aria-current]");
    if (link) links.current.scrollLeft = link.offsetLeft - links.current.offsetLeft - (links.current.clientWidth - link.offsetWidth) / 2;
  }, [current?.path]);

  const { Component, problem } = page;
  const rest = current && path.slice(current.path.length + 1);
  return html`<div class="admin" onClick=${follow}>
    <nav class="sidebar" ref=${links} aria-label=${texts.administration}>${shown.map((s) => html`<a href=${s.path} aria-current=${s === current ? "page" : undefined}>${s.name}</a>`)}</nav>
    <div class="stack content"><${Alert}>${problem}<//>${Component && page.path === current?.path && html`<${Component} me=${me} leave=${leave} rest=${rest} query=${query} />`}</div>
  </div>`;
}

mount(Admin, { allowed: isAdministrator });
