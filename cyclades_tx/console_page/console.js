// The console page: one ticket, one WebSocket, one screen.
//
// The ticket comes behind the URL's "#", which no browser sends anywhere, and goes out as the first
// message over the WebSocket. A secret of our own goes along: with it, and nobody else's, the console
// can be opened again within a minute of its end.

import RFB from "./novnc-1.7.0/core/rfb.js";

const AGAIN_SECONDS = 60;
const KEPT = "console-again";
const TICKET = /^[A-Za-z0-9_-]{43}$/;
const PAUSES_SECONDS = [1, 1, 2, 3, 5];

// What is said when a console could not be opened or has ended. "again": it may be opened again,
// by itself ("auto") or when somebody asks for it ("ask"); "spent": the ticket was used up by this;
// "over": a new ticket would not help either.
const WORDS = {
  used: { title: "This ticket was used already", text: "Each ticket opens one console, once.", again: "successor" },
  unknown: { title: "This ticket is not known", text: "Perhaps the address was copied only in part." },
  ticket_expired: { title: "This ticket has expired", text: "It waits for a minute, and no longer." },
  not_allowed: { title: "You may not open this console", text: "Your right to this machine was taken away.", over: true },
  not_running: { title: "The machine is not running", text: "It has no screen until it is started.", again: "auto" },
  too_many_yours: { title: "You have too many consoles open", text: "Close one of them first.", again: "ask" },
  too_many: { title: "Too many consoles are open", text: "Somebody has to leave first.", again: "auto" },
  too_many_tries: { title: "Too many wrong tickets", text: "They came from your address. Try again in some minutes." },
  unavailable: { title: "Tickets cannot be checked now", text: "The service is busy with something else.", again: "auto" },
  unreachable: { title: "The screen cannot be reached", text: "The machine's node does not answer.", again: "auto", spent: true },
  far_refused: { title: "The screen did not let us in", text: "The operators of this cloud can find out why.", spent: true },
  far_speaks_not: { title: "The screen is not understood", text: "The operators of this cloud can find out why.", spent: true },
  viewer_speaks_not: { title: "The page was not understood", text: "Load it again; it may be an old one.", again: "ask", spent: true },
  too_late: { title: "Opening took too long", text: "Try it once more.", again: "ask", spent: true },
  viewer_left: { title: "Disconnected", text: "You have closed this console.", again: "ask" },
  viewer_silent: { title: "The connection was lost", text: "Your browser was not heard of for a while.", again: "auto" },
  screen_left: { title: "The screen went away", text: "The machine may be restarting.", again: "auto" },
  idle: { title: "Nothing happened for a long time", text: "So this console was closed.", again: "ask" },
  time_over: { title: "This console was open for very long", text: "It is being opened anew.", again: "auto" },
  closed: { title: "An operator closed this console", text: "Ask them why, or open another one." },
  deleted: { title: "The machine was deleted", text: "Its screen is gone with it.", over: true },
  suspended: { title: "The machine was suspended", text: "Only an operator can lift that.", over: true },
  stopped: { title: "The machine has stopped", text: "It has no screen until it is started.", again: "auto" },
  moved: { title: "The machine has moved", text: "Its screen is at another node now.", again: "auto" },
  right_lost: { title: "You may not see this screen any more", text: "Your right to this machine was taken away.", over: true },
  restart: { title: "The service is being restarted", text: "It will be back soon.", again: "auto" },
  fault: { title: "Something unexpected happened", text: "The operators of this cloud can find out what.", again: "auto" },
  lost: { title: "The connection was lost", text: "The network or the service does not answer.", again: "auto" },
};
const ASK_ANEW = "For another console:";
const COMMAND = "openstack console url show --novnc SERVER";

const part = (id) => document.getElementById(id);
const [name, statusText, title, text, hint, again, left, seconds] = [
  "name", "status-text", "card-title", "card-text", "card-hint", "again", "left", "seconds",
].map(part);
const tools = ["ctrl-alt-del", "type", "fit", "leave"].map(part);
const [ctrlAltDel, type, fit, leave] = tools;

let ticket = null; // what the next try begins with
let successor = null; // what may be used after that
let socket = null;
let rfb = null;
let until = 0; // the end of the minute, in milliseconds
let tries = 0;
let leaving = false;
let timer = null;
let ticking = null;

function secret() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

function keep(value) {
  try {
    if (value === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, value);
  } catch { /* Without a store, a page that is loaded again needs a new ticket. */ }
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

// What is shown

function show(state, status, heading, sentence, command = false) {
  document.body.dataset.state = state;
  statusText.textContent = status;
  title.textContent = heading;
  text.textContent = sentence;
  hint.hidden = !command;
  if (command) {
    const code = document.createElement("code");
    code.textContent = COMMAND;
    hint.replaceChildren(ASK_ANEW, code);
  }
  for (const tool of tools) tool.disabled = state !== "open";
  for (const each of [again, left, seconds]) each.hidden = true;
  clearInterval(ticking);
}

function named(machine) {
  // "QEMU (snf-42)" is what a hypervisor says.
  const short = /^QEMU \((.+)\)$/.exec(machine)?.[1] ?? machine;
  name.textContent = short || "Console";
  document.title = short ? `${short} · Console` : "Console";
  part("screen").setAttribute("aria-label", short ? `The screen of ${short}` : "The machine's screen");
}

function countDown() {
  for (const each of [again, left, seconds]) each.hidden = false;
  const tick = () => {
    const rest = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    left.value = rest;
    seconds.textContent = `${rest} s left`;
    if (rest === 0) giveUp();
  };
  tick();
  ticking = setInterval(tick, 1000);
}

function giveUp() {
  clearTimeout(timer);
  keep(null);
  ticket = null;
  show("ended", "Ended", title.textContent, "The minute for reconnecting is over.", true);
}

// Connecting

function connect() {
  clearTimeout(timer);
  leaving = false;
  const url = new URL("ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  const next = secret();
  const ws = new WebSocket(url);
  socket = ws;
  let open = false;
  ws.binaryType = "arraybuffer";
  ws.addEventListener("open", () => ws.send(`${ticket}.${next}`), { once: true });
  ws.onmessage = (event) => {
    if (typeof event.data !== "string" || JSON.parse(event.data).console !== "open") return;
    open = true;
    opened(ws, next);
  };
  ws.addEventListener("close", (event) => {
    if (socket !== ws) return;
    socket = null;
    ended(event, open, next);
  });
}

function opened(ws, next) {
  ticket = next;
  keep(next);
  tries = 0;
  until = 0;
  rfb = new RFB(part("screen"), ws, { shared: true });
  rfb.scaleViewport = fit.getAttribute("aria-pressed") === "true";
  rfb.background = "#0b0e16";
  rfb.showDotCursor = true;
  rfb.addEventListener("connect", () => {
    show("open", "Connected", "Connected", "");
    rfb?.focus();
  });
  rfb.addEventListener("desktopname", (event) => named(event.detail.name));
}

function ended(event, open, next) {
  const word = said(event);
  const known = WORDS[word];
  rfb = null;
  part("screen").replaceChildren();
  if (!until) until = Date.now() + AGAIN_SECONDS * 1000;
  if (!open && (known.spent || word === "lost")) successor = next;
  if (known.again === "successor") {
    // The answer to an earlier try may have been lost on its way.
    if (successor !== null && successor !== ticket) {
      ticket = successor;
      successor = null;
      connect();
      return;
    }
  } else if (!open && known.spent) {
    ticket = next;
    keep(next);
  }
  const state = open || tries ? "ended" : "refused";
  const how = leaving ? "ask" : known.again;
  if (how !== "auto" && how !== "ask") {
    keep(null);
    show(state, state === "ended" ? "Ended" : "Refused", known.title, known.text, !known.over);
    focusCard();
    return;
  }
  if (Date.now() >= until) {
    title.textContent = known.title;
    giveUp();
    return;
  }
  if (how === "auto") {
    const pause = PAUSES_SECONDS[Math.min(tries, PAUSES_SECONDS.length - 1)];
    tries += 1;
    show("again", "Reconnecting", known.title, `${known.text} Trying to reconnect\u2026`);
    timer = setTimeout(connect, pause * 1000);
  } else {
    show("ended", "Ended", known.title, known.text);
  }
  countDown();
  if (how === "ask") again.focus();
}

// The word of a close frame: its reason is "WORD: SENTENCE", and page and service know the same words.
function said(event) {
  if (leaving) return "viewer_left";
  const word = /^([a-z_]+): /.exec(event.reason)?.[1];
  return word !== undefined && Object.hasOwn(WORDS, word) ? word : "lost";
}

function focusCard() {
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
}

// The buttons

again.addEventListener("click", () => {
  tries = 0;
  show("connecting", "Connecting", "Connecting", "Reaching the machine's screen.");
  if (socket === null) connect();
});

leave.addEventListener("click", () => {
  leaving = true;
  rfb?.disconnect();
});

ctrlAltDel.addEventListener("click", () => {
  rfb?.sendCtrlAltDel();
  rfb?.focus();
});

fit.addEventListener("click", () => {
  const pressed = fit.getAttribute("aria-pressed") !== "true";
  fit.setAttribute("aria-pressed", String(pressed));
  if (rfb) rfb.scaleViewport = pressed;
});

part("full").addEventListener("click", async () => {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
  } catch { /* The browser does not allow it. */ }
  rfb?.focus();
});

type.addEventListener("click", () => {
  part("text").value = "";
  part("typing").showModal();
});

part("typing").addEventListener("close", () => {
  const typed = part("typing").returnValue === "type" ? part("text").value : "";
  part("text").value = "";
  part("typing").returnValue = "";
  rfb?.focus();
  for (const character of typed.replace(/\r\n?/g, "\n")) press(character);
});

const SHIFT = 0xffe1;
const KEYS = { "\n": 0xff0d, "\t": 0xff09 };
const SHIFTED = /[A-Z~!@#$%^&*()_+{}|:"<>?]/;

function press(character) {
  if (!rfb) return;
  const point = character.codePointAt(0);
  const key = KEYS[character] ?? (point < 0x100 ? point : 0x01000000 | point);
  const shifted = SHIFTED.test(character);
  if (shifted) rfb.sendKey(SHIFT, "ShiftLeft", true);
  rfb.sendKey(key, null);
  if (shifted) rfb.sendKey(SHIFT, "ShiftLeft", false);
}

// Whoever has no mouse must be able to leave the screen.
addEventListener("keydown", (event) => {
  if (!rfb || !event.ctrlKey || !event.altKey || !event.shiftKey) return;
  if (!["Control", "Alt", "Shift"].includes(event.key)) return;
  rfb.blur();
  ctrlAltDel.focus();
}, true);

// The beginning

function begin() {
  const given = location.hash.slice(1);
  // Neither the address bar nor the history keeps the ticket.
  if (given) history.replaceState(null, "", location.pathname);
  ticket = TICKET.test(given) ? given : given ? null : kept();
  successor = null;
  tries = 0;
  until = 0;
  if (ticket === null || !TICKET.test(ticket)) {
    show("refused", "No ticket", "This page needs a ticket", "It opens one machine's screen once, within a minute.", true);
    return;
  }
  show("connecting", "Connecting", "Connecting", "Reaching the machine's screen.");
  connect();
}

addEventListener("hashchange", () => {
  if (location.hash.length < 2) return;
  const before = socket;
  socket = null;
  rfb?.disconnect();
  rfb = null;
  before?.close();
  begin();
});

begin();
