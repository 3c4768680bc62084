// Shows what is new in place: what has not changed keeps its element, and with it the focus and a reader's place.

/**
 * Makes the children of `parent` what `fresh` are.
 * @param {Element} parent
 * @param {readonly Node[]} fresh
 */
export function patch(parent, fresh) {
  const old = [...parent.childNodes];
  if (old.length !== fresh.length) return parent.replaceChildren(...fresh);
  for (const [i, now] of fresh.entries()) {
    const was = old[i];
    if (was === undefined || was.isEqualNode(now)) continue;
    const isSame =
      was instanceof Element &&
      now instanceof Element &&
      was.cloneNode(false).isEqualNode(now.cloneNode(false));
    if (isSame) patch(was, [...now.childNodes]);
    else if (was instanceof Text && now instanceof Text) was.data = now.data;
    else was.replaceWith(now);
  }
}
