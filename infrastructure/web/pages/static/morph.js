// Makes one piece of the page like another, touching only what differs: focus, selection, scrolling and opened details stay.

const KEEP = new Set(["open"]); // on <details> it belongs to whoever looks at the page

/** Makes `old` like `fresh`; elements with a `data-key` are known by it, others by their place. Calls `added` with each new keyed element. */
export function morph(old, fresh, added = () => {}) {
  if (old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
  }
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let here = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = next.dataset?.key;
    const known = key ? keyed.get(key) : alike(here, next) ? here : null;
    if (!known) {
      const node = document.importNode(next, true);
      old.insertBefore(node, here);
      if (key) added(node);
      continue;
    }
    if (known === here) here = here.nextSibling;
    else old.insertBefore(known, here);
    if (known.nodeType === Node.ELEMENT_NODE) morph(known, next, added);
    else if (known.nodeValue !== next.nodeValue) known.nodeValue = next.nodeValue;
    keyed.delete(key);
  }
  while (here) {
    const gone = here;
    here = here.nextSibling;
    gone.remove();
  }
}

function alike(old, fresh) {
  return old !== null && old.nodeName === fresh.nodeName && !old.dataset?.key && (old.id ?? "") === (fresh.id ?? "");
}

function kept(element, name) {
  return KEEP.has(name) && element.nodeName === "DETAILS";
}
