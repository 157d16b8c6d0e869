// The descriptions of the document: paragraphs with code, emphasis and links in Markdown.

import { html } from "../components.js";

const inline = /(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\((?:\/|https:\/\/)[^)\s]*\))/;

function words(text) {
  return text.split(inline).map((part) => {
    if (part.startsWith("`") && part.endsWith("`") && part.length > 1) return html`<code>${part.slice(1, -1)}</code>`;
    if (part.startsWith("**") && part.length > 4) return html`<strong>${part.slice(2, -2)}</strong>`;
    const link = /^\[([^\]]+)\]\(([^)]*)\)$/.exec(part);
    return link ? html`<a href=${link[2]}>${words(link[1])}</a>` : part;
  });
}

// Words is one line of text.
export function Words({ text = "" }) {
  return words(text);
}

// Prose is text with paragraphs and lists.
export function Prose({ text = "" }) {
  return text.trim().split(/\n\s*\n/).filter(Boolean).map((block) => {
    const items = block.split(/\n(?=- )/);
    if (block.startsWith("- ")) return html`<ul>${items.map((i) => html`<li>${words(i.slice(2))}</li>`)}</ul>`;
    return html`<p>${words(block)}</p>`;
  });
}
