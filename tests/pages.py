"""What a page owes to who reads it by ear, by keyboard, on a phone or on a dark screen: looked for in Chromium."""

import shutil
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install it to test the page")

_STRUCTURE = """() => {
  const all = (what) => [...document.querySelectorAll(what)];
  const shown = (one) => one.checkVisibility({ visibilityProperty: true });
  const named = (one) => one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length;
  const wrong = [];
  const must = (right, what, one) => { if (!right) wrong.push(`${what}: ${(one?.outerHTML ?? "").slice(0, 120)}`); };
  must(document.documentElement.lang, "no language");
  must(document.title.trim(), "no title");
  must(all("h1").length === 1, "not one h1");
  must(all("main").length === 1, "not one main");
  let level = 0;
  all("h1, h2, h3, h4").filter(shown).forEach((one) => {
    must(+one.tagName[1] <= level + 1, "a heading too deep", one);
    level = +one.tagName[1];
  });
  all("img").forEach((one) => must(one.alt.trim(), "an image without words", one));
  all("canvas").filter(shown).forEach((one) => must(one.getAttribute("aria-label"), "a canvas without words", one));
  all("audio, input, button, a, summary").forEach((one) => must(named(one), "without a name", one));
  all("meter").forEach((one) => must(named(one) || one.ariaHidden === "true", "a bar without a name", one));
  all("th").forEach((one) => must(one.scope && one.textContent.trim(), "a header of nothing", one));
  const ids = all("[id]").map((one) => one.id);
  must(new Set(ids).size === ids.length, "an id twice");
  all("*").filter((one) => shown(one) && one.scrollWidth > one.clientWidth + 1).forEach((one) => {
    if (!/auto|scroll/.test(getComputedStyle(one).overflowX)) return;
    must(one.tabIndex >= 0 && named(one), "cannot be scrolled by keyboard", one);
  });
  must(document.documentElement.scrollWidth <= innerWidth, `wider than ${innerWidth} pixels`);
  return wrong;
}"""
_CONTRAST = """() => {
  const numbers = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((one, n) => a * one + (1 - a) * under[n]);
  const light = (colour) => colour.map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (one) => {
    const own = numbers(getComputedStyle(one).backgroundColor);
    return own[3] === 1 || !one.parentElement ? own : over(own, ground(one.parentElement));
  };
  const wrong = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), one = walk.currentNode.parentElement;
    if (!text || !one.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(one), under = ground(one).slice(0, 3);
    const [dark, bright] = [light(over(numbers(style.color), under)), light(under)].sort((a, b) => a - b);
    const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${text.slice(0, 60)}`);
  }
  return wrong;
}"""
_FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const seen = (of) => of.outlineStyle !== "none" && parseFloat(of.outlineWidth) > 0;
  const label = one.labels?.[0]; // drawn in the place of an input that is not
  const ok = one === document.body || seen(style) || (label && seen(getComputedStyle(label)));
  return ok ? "" : `focus cannot be seen: ${one.outerHTML.slice(0, 120)}`;
}"""


def faults_of(page: Any) -> list[str]:
    """Of what the page shows now, by day and by night, on a desk, on a phone and on a small one."""
    wrong: list[str] = []
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        wrong += [f"{scheme}, {one}" for one in page.evaluate(_CONTRAST)]
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        wrong += [f"{width} wide, {one}" for one in page.evaluate(_STRUCTURE)]
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    for _ in range(25):
        page.keyboard.press("Tab")
        wrong += filter(None, [page.evaluate(_FOCUS)])
    return list(dict.fromkeys(wrong))


def faults(path: Path) -> list[str]:
    """Of a page that is a file; what it asks from elsewhere, too."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        page.goto(path.as_uri())
        wrong = faults_of(page)
        browser.close()
    return wrong + [f"asked {url}" for url in asked[1:] if not url.startswith("data:")]
