"use strict";

// Draws the page from the JSON beside it. Texts are people's: they enter the document as text nodes alone.

const page = JSON.parse(document.getElementById("data").textContent);
const SCALE_END = 5; // nats at full colour; PerCE clips its weights there too
const NEAR = "1200px"; // how far outside the window a record is drawn

/** Make an element with a class and children (strings become text nodes). */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** The CSS colour of a PIR in nats, in proportion to it. */
function shade(pir) {
  const strength = Math.min(Math.abs(pir) / SCALE_END, 1);
  const hue = pir < 0 ? "--negative" : "--positive";
  return `color-mix(in srgb, var(${hue}) ${(strength * 100).toFixed(1)}%, transparent)`;
}

// Controls, and marks that reorder or hide text, are shown by name so that what you see is what the model saw.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function nameUnseen(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function plain(text) {
  return text.replace(UNSEEN, (character) => `⟨${nameUnseen(character)}⟩`);
}

/** A token's text, or a visible stand-in where it would leave nothing to point at. */
function tokenNodes(text) {
  if (text === "") return [make("span", "unseen", "∅")];
  const newline = text.indexOf("\n");
  if (newline < 0) return [text];
  return [text.slice(0, newline), make("span", "unseen", "⏎"), text.slice(newline)];
}

const number = (value, digits = 2) =>
  (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);

function percent(logp) {
  const value = 100 * Math.exp(logp);
  if (value >= 99.95) return "100 %";
  if (value >= 10) return `${value.toFixed(0)} %`;
  if (value >= 0.1) return `${value.toFixed(1)} %`;
  if (value >= 0.001) return `${value.toPrecision(1)} %`;
  return "< 0.001 %";
}

function times(pir) {
  const ratio = Math.exp(Math.abs(pir));
  if (ratio < 1.05) return "as likely with the profile as without it";
  const size = ratio < 10 ? ratio.toFixed(1) : ratio < 10000 ? ratio.toFixed(0) : ratio.toExponential(0);
  return `${size} × ${pir > 0 ? "likelier" : "less likely"} with the profile`;
}

// ---- the figures of one token

const tip = document.getElementById("tip");
let shown = null;

function describe(token) {
  const { record, index } = token.where;
  const pir = record.pir[index] / 1000;
  const withProfile = record.with[index] / 1000;
  const without = record.without[index] / 1000;
  const row = (name, logp) =>
    make("tr", "", make("td", "", name), make("td", "", percent(logp)), make("td", "quiet", `log p ${number(logp)}`));
  const piece = JSON.stringify(record.pieces[index]).slice(1, -1).replaceAll('\\"', '"');
  tip.replaceChildren(
    make("div", "piece", `“${plain(piece)}”`),
    make("table", "", row("with the profile", withProfile), row("without it", without)),
    make("div", "", make("b", "", `PIR ${number(pir)}`), ` · ${times(pir)}`),
  );
}

function place(token) {
  const box = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const width = tip.offsetWidth;
  const height = tip.offsetHeight;
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, window.innerWidth - width - 8));
  const above = box.top - height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above >= 8 ? above : box.bottom + 8}px`;
}

function show(token) {
  hide();
  shown = token;
  token.classList.add("shown");
  token.setAttribute("aria-describedby", "tip");
  describe(token);
  tip.hidden = false;
  place(token);
}

function hide() {
  if (!shown) return;
  shown.classList.remove("shown");
  shown.removeAttribute("aria-describedby");
  shown = null;
  tip.hidden = true;
}

const tokenOf = (event) => (event.target instanceof Element ? event.target.closest(".response .token") : null);

document.addEventListener("pointerover", (event) => {
  const token = tokenOf(event);
  if (token) show(token);
  else if (shown && shown !== document.activeElement) hide();
});
document.addEventListener("focusin", (event) => (tokenOf(event) ? show(tokenOf(event)) : hide()));
window.addEventListener("scroll", hide, { passive: true, capture: true });

// One tab stop a response; the arrow keys move inside it.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hide();
  const token = tokenOf(event);
  if (!token) return;
  const tokens = token.parentElement.children;
  const to = {
    ArrowRight: token.where.index + 1,
    ArrowDown: token.where.index + 1,
    ArrowLeft: token.where.index - 1,
    ArrowUp: token.where.index - 1,
    Home: 0,
    End: tokens.length - 1,
  }[event.key];
  if (to === undefined || !tokens[to]) return;
  event.preventDefault();
  token.tabIndex = -1;
  tokens[to].tabIndex = 0;
  tokens[to].focus();
});

// ---- one record

function responseOf(record) {
  const response = make("p", "response");
  response.dir = "auto";
  record.pieces.forEach((piece, index) => {
    const pir = record.pir[index] / 1000;
    const text = plain(piece);
    // The space before a word stays outside the shade: at a line's end it would be a stray bar of colour.
    const space = /^ +(?=\S)/.exec(text)?.[0] ?? "";
    const token = make("span", pir > page.threshold ? "token personal" : "token", ...tokenNodes(text.slice(space.length)));
    token.style.setProperty("--shade", shade(pir));
    token.tabIndex = index === 0 ? 0 : -1;
    token.where = { record, index };
    response.append(space, token);
  });
  return response;
}

function textBlock(text) {
  const block = make("div", "text", plain(text));
  block.dir = "auto";
  return block;
}

function contextOf(record) {
  const context = make("div", "context", make("h3", "", "Profile"));
  const inPrompt = record.profile.filter((item) => item.status !== "dropped");
  const dropped = record.profile.filter((item) => item.status === "dropped");
  const list = (items) =>
    make(
      "ul",
      items.length > 1 ? "" : "plain",
      ...items.map((item) => {
        const entry = make("li", "", textBlock(item.text));
        if (item.status === "cut") entry.prepend(make("span", "mark", "cut to fit"));
        return entry;
      }),
    );
  context.append(inPrompt.length ? list(inPrompt) : make("p", "empty", "empty"));
  if (dropped.length) {
    const count = `${dropped.length} more ${dropped.length === 1 ? "item" : "items"} the model did not see`;
    context.append(make("details", "", make("summary", "", count), list(dropped)));
  }
  context.append(make("h3", "", record.messages.length > 1 ? "Conversation" : "Query"));
  for (const message of record.messages) {
    if (record.messages.length > 1) context.append(make("div", "role", plain(message.role)));
    context.append(textBlock(message.content));
  }
  return context;
}

function fill(card) {
  const { record } = card;
  card.classList.remove("waiting");
  card.append(
    make(
      "div",
      "columns",
      contextOf(record),
      make("div", "answer", make("h3", "", "Response"), responseOf(record)),
    ),
  );
}

function cardOf(record) {
  const figures = make(
    "span",
    "figures",
    `${record.pieces.length} tokens · `,
    make("b", "", `${(100 * record.personal).toFixed(0)} %`),
    " personal · mean PIR ",
    make("b", "", number(record.mean)),
  );
  const card = make(
    "article",
    "card waiting",
    make(
      "header",
      "",
      make("span", "user", plain(record.user)),
      ...(record.id === record.user ? [] : [make("span", "id", plain(record.id))]),
      figures,
    ),
  );
  card.record = record;
  return card;
}

// Thousands of records stay usable because only those near the window are drawn.
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      fill(entry.target);
    }
  },
  { rootMargin: NEAR },
);

// ---- sections, search and order

const ORDERS = {
  "in order": null,
  "most personal first": (a, b) => b.personal - a.personal,
  "highest mean PIR first": (a, b) => b.mean - a.mean,
  "lowest mean PIR first": (a, b) => a.mean - b.mean,
};

function searchable(record) {
  const profile = record.profile.map((item) => item.text);
  const messages = record.messages.map((message) => message.content);
  return [record.user, record.id, record.pieces.join(""), ...messages, ...profile].join("\n").toLowerCase();
}

function optionList(name, options) {
  const select = make("select", "", ...options.map((text) => make("option", "", plain(text))));
  options.forEach((text, index) => (select.options[index].value = text));
  select.setAttribute("aria-label", name);
  return select;
}

function controlsOf(records, cards, holder) {
  const search = make("input");
  search.type = "search";
  search.placeholder = "Search records, users, texts";
  search.setAttribute("aria-label", "Search records, users and texts");
  const everyone = "all users";
  const users = [...new Set(records.map((record) => record.user))].sort();
  const user = optionList("User", [everyone, ...users]);
  const order = optionList("Order", Object.keys(ORDERS));
  const count = make("span", "count");
  count.setAttribute("aria-live", "polite");
  const texts = records.map(searchable);

  const apply = () => {
    hide();
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    cards.forEach((card, index) => {
      const text = texts[index];
      const fits =
        (user.selectedIndex === 0 || records[index].user === user.value) && words.every((word) => text.includes(word));
      card.hidden = !fits;
      visible += fits;
    });
    count.textContent = `${visible} of ${cards.length} records`;
  };
  const arrange = () => {
    const compare = ORDERS[order.value];
    holder.append(...(compare ? [...cards].sort((a, b) => compare(a.record, b.record)) : cards));
  };
  search.addEventListener("input", apply);
  user.addEventListener("change", apply);
  order.addEventListener("change", arrange);
  apply();
  return make("div", "controls", search, user, order, count);
}

function sectionOf(section, isLast) {
  const element = make("section", "", make("h2", "", section.title));
  if (section.about) element.append(make("p", "about", section.about));
  for (const record of section.records) {
    const total = record.pir.reduce((sum, pir) => sum + pir, 0) / 1000;
    record.mean = total / record.pir.length;
    record.personal = record.pir.filter((pir) => pir / 1000 > page.threshold).length / record.pir.length;
  }
  const cards = section.records.map(cardOf);
  const holder = make("div", "", ...cards);
  if (isLast) {
    element.append(make("p", "figures", section.figures), controlsOf(section.records, cards, holder));
  }
  element.append(holder);
  cards.forEach((card) => near.observe(card));
  return element;
}

document.getElementById("note").textContent = page.note;
document.getElementById("threshold").textContent = String(page.threshold);
for (let pir = -SCALE_END; pir <= SCALE_END; pir += 1) {
  const step = make("span", "", number(pir, 0));
  step.style.setProperty("--shade", shade(pir));
  document.getElementById("scale").append(step);
}
page.sections.forEach((section, index) => {
  document.getElementById("main").append(sectionOf(section, index === page.sections.length - 1));
});
