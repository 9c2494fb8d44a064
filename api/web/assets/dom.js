// Building the page's elements. Text is only ever set as text, so nothing that comes from a server or a learner can become
// markup.

// h makes an element: h('button', {class: 'primary', onclick: buy}, '购买'). Attributes that are false, null or undefined are
// left out, true makes an empty one, and those that begin with "on" are listeners.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

// show puts children in the place of whatever the element holds.
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
}

// whileBusy keeps a button from being pressed again until the work that it began is done.
export async function whileBusy(button, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true'); // and not disabled: it keeps the focus
  try {
    await work();
  } finally {
    button.removeAttribute('aria-disabled');
  }
}

// busyButton is a button whose work may take a while.
export function busyButton(attributes, label, work) {
  return h('button', {type: 'button', ...attributes, onclick: (event) => whileBusy(event.currentTarget, work)}, label);
}

let toastTimer;

// toast says something in passing.
export function toast(text) {
  const place = document.getElementById('toast');
  place.textContent = text;
  place.classList.add('shown');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, 6000);
}

function hideToast() {
  const place = document.getElementById('toast');
  place.classList.remove('shown');
  place.textContent = '';
}

// openDialog shows a modal dialog with the given title and content, and removes it once it closes. The browser keeps the
// focus inside and gives it back afterwards.
export function openDialog({title, testid, wide, onclose}, ...content) {
  const back = document.activeElement;
  const heading = h('h2', {id: `${testid}-title`, tabindex: '-1'}, title);
  const dialog = h('dialog', {'aria-labelledby': heading.id, 'data-testid': testid, class: wide && 'wide'}, heading, content);
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (back?.isConnected) back.focus();
    onclose?.();
  });
  hideToast();
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
