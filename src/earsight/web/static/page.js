"use strict";
const $ = (id) => document.getElementById(id);
const SHOWN = 12; // bars, at most
let model = null;
let shownOne = null; // what #answer shows: {name, row, rows, events, url}
let choice = null; // of the list, by the reader, while files are being answered
let live = null; // while the microphone is on, or asked for

const percent = (share) => `${(100 * share).toFixed(share > 0.0995 || share === 0 ? 0 : 1)} %`;
const clock = (s) => {
  const tenths = Math.round(10 * s); // first: 59.97 s is 1:00.0, not 0:60.0
  return `${Math.floor(tenths / 600)}:${(tenths % 600 / 10).toFixed(1).padStart(4, "0")}`;
};
/** Where it is another text: what is read aloud must not be read again. */
const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
const say = (text) => put("status", text); // what a screen reader says, too
const busy = (text) => put("busy", text); // what it need not say
const FAILED = "no answer";
const GONE = "the server does not answer; is it still running?";

function element(kind, text, ...inside) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  made.append(...inside);
  return made;
}

// -- asking ---------------------------------------------------------------------------------------------------------

async function refusal(answered) {
  try {
    return (await answered.json()).error;
  } catch {
    return `the server answered ${answered.status}`;
  }
}

/** Throws an Error with the server's reason, or that it has gone. */
async function asked(query, blob, headers) {
  const answered = await fetch(`api/predict?${new URLSearchParams(query)}`, { method: "POST", body: blob, headers })
    .catch(() => { throw new Error(GONE); });
  if (!answered.ok) throw new Error(await refusal(answered));
  return answered;
}

/** The answer to a recording as a whole. */
const whole = async (blob, name) => (await asked({ name }, blob)).json();

/** The same, where it is not too long for that. */
async function wholeOrLong(blob, name) {
  if (blob.size > model.most_bytes) throw new Error(`larger than ${model.most_bytes / 1e6} MB, which is the most here`);
  try {
    return await whole(blob, name);
  } catch (reason) {
    if (!reason.message.startsWith("longer than")) throw reason;
    return { label: "listening …", probabilities: {}, long: true };
  }
}

/** Windows and events, row by row as they are found. */
async function windows(blob, name, each) {
  const answered = await asked({ name, window: model.crop_s, events: true }, blob, { Accept: "application/x-ndjson" });
  const reader = answered.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    lines.forEach((line) => each(JSON.parse(line)));
    if (done) return;
  }
}

/** float samples → a WAV of 16 bits. */
function wav(samples, rateHz) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rateHz, true); view.setUint32(28, 2 * rateHz, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((one, n) => view.setInt16(44 + 2 * n, Math.max(-1, Math.min(1, one)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

/** What the server can't read (m4a, mp4, webm where it has no PyAV) the browser may: as a WAV. */
async function decoded(blob) {
  const context = new AudioContext();
  try {
    const sound = await context.decodeAudioData(await blob.arrayBuffer());
    const mixed = new Float32Array(sound.length);
    for (let c = 0; c < sound.numberOfChannels; c++) {
      sound.getChannelData(c).forEach((one, n) => { mixed[n] += one / sound.numberOfChannels; });
    }
    return wav(mixed, sound.sampleRate);
  } finally {
    context.close();
  }
}

/** Answers files one after the other. Each is shown as it comes, unless the reader has chosen another one meanwhile. */
async function take(files) {
  stopLive();
  choice = null;
  await known;
  if (!model) return;
  const all = [...files].map((file) => ({ name: file.name, rows: [], events: [], url: URL.createObjectURL(file) }));
  [...all].reverse().forEach(list); // the first at the top
  say("");
  for (const [n, file] of [...files].entries()) {
    const one = all[n];
    const at = files.length > 1 ? `${n + 1} of ${files.length}: ` : "";
    one.entry.lastChild.textContent = "…";
    busy(`${at}answering ${file.name} …`);
    try {
      let blob = file;
      try {
        one.row = await wholeOrLong(blob, file.name);
      } catch (reason) {
        if (!reason.message.startsWith("not readable as sound")) throw reason;
        busy(`${at}decoding ${file.name} in the browser …`);
        blob = await decoded(file).catch(() => { throw reason; });
        one.row = await wholeOrLong(blob, file.name);
      }
      told(one);
      await windows(blob, file.name, (row) => {
        if (row.event) one.events.push(row);
        else if (row.probabilities) one.rows.push(row);
        else one.error = row.error;
        if (one === shownOne) later();
      });
    } catch (reason) {
      one.error = one.row ? `not heard to its end: ${reason.message}` : reason.message;
    }
    one.done = true;
    told(one);
    put("aloud", `${file.name}: ${one.row ? heard(one) : `${FAILED}, ${one.error}`}`);
  }
  busy("");
}

/** In the list, and shown. */
function told(one) {
  const cut = one.row && (one.row.truncated ?? one.error);
  one.entry.lastChild.textContent = one.row ? `${heard(one)}${cut ? " · cut off" : ""}` : FAILED;
  one.entry.lastChild.className = one.row && !cut ? "" : "wrong";
  if (!live && (choice === null || choice === one)) show(one);
}

// -- showing --------------------------------------------------------------------------------------------------------

function said(row) {
  if (row.unknown) return "unknown";
  return row.labels ? row.labels.join(" · ") || "none of them" : row.label;
}

/** In a word or two. Of a recording that is too long to be heard as a whole: what most of its windows say, or the three
 * commonest of their answers. */
function heard(one) {
  if (one.row.long && !one.rows.length && one.error) return FAILED;
  if (!one.row.long || !one.rows.length) return said(one.row);
  const counts = new Map();
  one.rows.forEach((row) => counts.set(said(row), (counts.get(said(row)) ?? 0) + 1));
  const common = [...counts].sort((a, b) => b[1] - a[1]);
  return 2 * common[0][1] > one.rows.length ? `mostly ${common[0][0]}` : common.slice(0, 3).map(([label]) => label).join(" · ");
}

function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
  const order = live ? Object.entries(probabilities).slice(0, SHOWN) : sorted; // while it moves, each stays where it is
  while ($("bars").children.length > order.length) $("bars").lastChild.remove();
  order.forEach(([label, share], n) => {
    const bar = $("bars").children[n]
      ?? $("bars").appendChild(Object.assign(element("li", undefined, element("span"), element("i", undefined, element("b")), element("span")), { className: "bar" }));
    bar.children[0].textContent = label;
    bar.children[1].firstChild.style.width = `${100 * share}%`;
    bar.children[2].textContent = percent(share);
  });
}

function answer(row, error) {
  put("label", row.long ? heard(shownOne) : said(row));
  $("label").classList.toggle("unknown", Boolean(row.unknown));
  $("bars").classList.toggle("unknown", Boolean(row.unknown));
  const notes = row.unknown ? [`unlike anything the model knows; closest: ${row.likeliest}`] : [];
  if (row.truncated ?? error) notes.push(row.truncated ?? error);
  $("note").textContent = notes.join("; ");
  bars(row.probabilities);
}

function show(one) {
  shownOne?.entry?.removeAttribute("aria-current");
  shownOne = one;
  one.entry?.setAttribute("aria-current", "true");
  $("answer").hidden = false;
  $("who").replaceChildren(element("bdi", one.name));
  $("player").hidden = !one.url;
  if (one.url) $("player").src = one.url;
  if (one.row) {
    answer(one.row, one.error);
  } else {
    put("label", one.error ? FAILED : "…");
    $("label").classList.add("unknown");
    $("note").textContent = one.error ?? "";
    $("bars").replaceChildren();
  }
  timeline();
}

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; timeline(); });
}

/** A row a label, a column a window, redder where it is likelier. */
function timeline() {
  const { name, rows, events, row, done } = shownOne;
  const endS = rows.at(-1)?.end_s ?? 0;
  $("time").hidden = endS < 1.5 * model.crop_s; // of a short recording all is said above
  if ($("time").hidden) return;
  const what = row?.long ? `${clock(endS)}${done ? "" : " so far"}` : "its middle is answered here, all of it below";
  $("who").replaceChildren(element("bdi", name), ` · ${what}`);
  $("until").textContent = clock(endS);
  const labels = Object.keys(rows[0].probabilities);
  const canvas = $("heat"), wide = Math.min(rows.length, 4000);
  const high = Math.min(24, Math.max(6, 240 / labels.length));
  $("names").hidden = high < 16;
  if ($("names").textContent !== labels.join("")) $("names").replaceChildren(...labels.map((label) => element("span", label)));
  canvas.width = wide; canvas.height = labels.length;
  canvas.style.height = `${high * labels.length}px`;
  const ink = canvas.getContext("2d");
  ink.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--hot");
  for (let x = 0; x < wide; x++) {
    const row = rows[Math.floor(x * rows.length / wide)];
    labels.forEach((label, y) => {
      ink.globalAlpha = (row.unknown ? 0.25 : 1) * row.probabilities[label];
      ink.fillRect(x, y, 1, 1);
    });
  }
  canvas.title = labels.join(", ") + " from the top";
  canvas.setAttribute("aria-label", `What was heard when, of ${labels.length} labels; the events below say it in words`);
  $("events").replaceChildren(...events.slice(0, 500).map((event) => {
    const chip = element("button", undefined, element("bdi", event.label), ` ${clock(event.start_s)}–${clock(event.end_s)}`);
    chip.type = "button";
    chip.title = "Play from here";
    chip.onclick = () => seek(event.start_s);
    return element("li", undefined, chip);
  }));
}

const lengthS = () => shownOne?.rows.at(-1)?.end_s || 1; // of the map, which may still grow

function seek(s) {
  $("player").currentTime = s;
  $("player").play().catch(() => {});
}

/** At the top of the list. */
function list(one) {
  one.entry = element("button", undefined, element("span", one.name), element("span", "waiting"));
  one.entry.type = "button";
  one.entry.onclick = () => { stopLive(); choice = one; show(one); };
  $("list").prepend(element("li", undefined, one.entry));
  $("before").hidden = false;
}

// -- the microphone -------------------------------------------------------------------------------------------------

async function startLive() {
  if (!navigator.mediaDevices) {
    say("browsers give the microphone only to pages over https:// or from this machine (127.0.0.1)");
    return;
  }
  let stream, context, node;
  const mine = {
    stop: () => { // a second time too
      stream?.getTracks().forEach((track) => track.stop());
      context?.close().catch(() => {});
    },
  };
  live = mine;
  $("live").classList.add("on");
  $("live").textContent = "Stop microphone";
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    context = new AudioContext();
    await context.audioWorklet.addModule("recorder.js");
    node = new AudioWorkletNode(context, "recorder");
  } catch (reason) {
    mine.stop();
    if (live === mine) stopLive();
    const how = reason.name === "NotAllowedError" ? "; allow it in the browser's settings for this site" : "";
    say(`no microphone: ${reason.message}${how}`);
    return;
  }
  if (live !== mine) { // stopped while the browser was asking
    mine.stop();
    return;
  }
  const heard = new Float32Array(Math.round(model.crop_s * context.sampleRate)); // the last so many samples
  let count = 0;
  node.port.onmessage = ({ data }) => {
    heard.copyWithin(0, data.length);
    heard.set(data.slice(-heard.length), Math.max(0, heard.length - data.length));
    count += data.length;
  };
  context.createMediaStreamSource(stream).connect(node);
  show({ name: "microphone", row: { label: "…", probabilities: {} }, rows: [], events: [] });
  while (live === mine) {
    if (count > context.sampleRate / 2) {
      try {
        const row = await whole(wav(heard.slice(-Math.min(count, heard.length)), context.sampleRate), "microphone");
        if (live !== mine) break; // what is shown since is another's
        answer(row);
        put("aloud", said(row));
        say("");
      } catch (reason) {
        if (live !== mine) break;
        say(reason.message);
        put("label", "…"); // what was heard before is not what sounds now
        bars({});
      }
    }
    await new Promise((wake) => { setTimeout(wake, 300); });
  }
}

function stopLive() {
  if (!live) return;
  live.stop();
  live = null;
  $("live").classList.remove("on");
  $("live").textContent = "Use microphone";
  say("");
}

// -- the page -------------------------------------------------------------------------------------------------------

$("files").onchange = ({ target }) => { take(target.files).finally(() => { target.value = ""; }); };
$("live").onclick = () => (live ? stopLive() : known.then(() => model && startLive()));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
}
$("field").onclick = (event) => {
  const box = $("field").getBoundingClientRect();
  seek(lengthS() * (event.clientX - box.left) / box.width);
};
$("player").onerror = () => { $("player").hidden = true; }; // nothing that this browser can play
$("player").ontimeupdate = () => { $("head").style.left = `${100 * $("player").currentTime / lengthS()}%`; };
$("curl").textContent = `curl --data-binary @a.wav ${location.origin}/api/predict`;

async function learn() {
  try {
    model = await (await fetch("api/model")).json();
  } catch {
    say(GONE);
    return;
  }
  document.title = `${model.name} · earsight`;
  const some = model.labels.slice(0, 8).join(", ") + (model.labels.length > 8 ? " …" : "");
  $("about").textContent = `${model.name} tells ${model.labels.length} sounds apart: ${some}`;
}
const known = learn();
