import { describe, expect, test } from "vitest";
import { isAllowedAttribute, isAllowedTag, planText, safeLink, type Plan } from "../../src/components/markdown/node.ts";
import { decodeEntities } from "../../src/components/markdown/plan.ts";
import { MarkdownStream } from "../../src/components/markdown/stream.ts";
import { maskTex, texAt, texBlockAt } from "../../src/components/markdown/tex.ts";

/** A plan as markup, for comparing. */
function markup(plan: Plan): string {
  if (typeof plan === "string") return plan;
  const attrs = Object.entries(plan.attrs).map(([name, value]) => ` ${name}="${value}"`);
  return `<${plan.tag}${attrs.join("")}>${plan.children.map(markup).join("")}</${plan.tag}>`;
}

const render = (text: string, live = false) => new MarkdownStream().update(text, live).map(markup).join("\n");

describe("TeX", () => {
  test("is found by its delimiters", () => {
    const cases: [string, string | undefined, boolean?][] = [
      ["\\(x\\) rest", "x", false],
      ["\\[ x^2 \\]", "x^2", true],
      ["$$a$$", "a", true],
      ["$x+1$", "x+1", false],
      ["\\boxed{\\frac{1}{2}} is it", "\\boxed{\\frac{1}{2}}", false],
      ["\\boxed{a \\} b}", "\\boxed{a \\} b}", false],
      ["$5 and $10", undefined],
      ["$5-$10", undefined],
      ["$ x $", undefined],
      ["\\(no end", undefined],
      ["\\(a\n\nb\\)", undefined],
      ["\\boxed{open", undefined],
    ];
    for (const [text, tex, display] of cases) {
      const span = texAt(text, false);
      expect(span?.tex, text).toBe(tex);
      if (span) expect(span.display, text).toBe(display);
    }
  });

  test("that is still being written is pending", () => {
    expect(texAt("\\[ a + ", true)).toEqual({ raw: "\\[ a + ", tex: "a +", display: true, pending: true });
    expect(texAt("\\boxed{4", true)?.pending).toBe(true);
    expect(texAt("\\[ a\n\nb", true)).toBeUndefined();
  });

  test("on its own lines is a block, and takes the stop behind it", () => {
    expect(texBlockAt("\\[\n- a\n= b\n\\].\nmore", false)).toMatchObject({
      tex: "- a\n= b.",
      raw: "\\[\n- a\n= b\n\\].\n",
    });
    expect(texBlockAt("\\[ a \\] and more", false)).toBeUndefined();
  });

  test("is masked for emphasis", () => {
    expect(maskTex("*a \\(b*c\\) d*")).toBe("*a aaaaaaa d*");
    expect(maskTex("$5 * $6")).toBe("$5 * $6");
  });

  test("becomes MathML without style attributes", () => {
    const html = render("So \\( x_1 * y_1 \\) and *so* \\boxed{42}.");
    expect(html).toContain("<math");
    expect(html).toContain('class="boxed"');
    expect(html).toContain("<em>so</em>");
    expect(html).not.toContain(" style=");
  });

  test("that Temml does not know stays as its source", () => {
    expect(render("\\(\\nosuchmacro{1}\\)")).toBe("<p><code>\\nosuchmacro{1}</code></p>");
  });

  test("cannot link, load or name elements", () => {
    for (const tex of ["\\href{javascript:alert(1)}{x}", "\\includegraphics{http://a/b.png}", "\\htmlId{a}{b}"]) {
      expect(render(`\\(${tex}\\)`), tex).not.toMatch(/<(a|img|mglyph)\b|(href|src|id)="/);
    }
  });
});

describe("Markdown", () => {
  test("has plans for its blocks and spans", () => {
    const cases: [string, string][] = [
      ["# A *b*", "<h3>A <em>b</em></h3>"],
      ["a **b** `c<d` ~~e~~", "<p>a <strong>b</strong> <code>c<d</code> <del>e</del></p>"],
      ["- a\n- b", "<ul><li>a</li><li>b</li></ul>"],
      ["9716.", "<p>9716.</p>"],
      ["3. a", '<ol start="3"><li>a</li></ol>'],
      ["- [x] a", "<ul><li>☑ a</li></ul>"],
      ["> q", "<blockquote><p>q</p></blockquote>"],
      ["---", "<hr></hr>"],
      ["<b onclick=x>hi</b>", "<p><b onclick=x>hi</b></p>"],
      ["![alt &amp; *t*](http://a/b.png)", "<p>alt & *t*</p>"],
      ["a &lt; b &#65; &#x42; &nope;", "<p>a < b A B &nope;</p>"],
    ];
    for (const [text, html] of cases) expect(render(text), text).toBe(html);
  });

  test("links show their host, and are followed by hand alone", () => {
    const rel = 'target="_blank" rel="noopener noreferrer nofollow"';
    expect(render("[text](https://a.example/x)")).toBe(
      `<p><a href="https://a.example/x" ${rel}>text<span class="host"> (a.example)</span></a></p>`,
    );
    expect(render("https://a.example/x")).toBe(`<p><a href="https://a.example/x" ${rel}>https://a.example/x</a></p>`);
    expect(render("[https://bank.example](https://evil.example/)")).toContain('<span class="host"> (evil.example)');
    expect(render("[a](javascript:alert(1))")).toBe("<p>[a](javascript:alert(1))</p>");
  });

  test("definitions of links are text", () => {
    expect(render("[x]: https://a.example\n\n[x]")).toMatch(/^<p>\[x\]: <a .*<\/a><\/p>\n<p>\[x\]<\/p>$/);
  });

  test("code keeps its text and names its language", () => {
    const html = render("```js onload=x\n<b>1</b>\n```");
    expect(html).toContain('<span class="language">js</span>');
    expect(html).toContain("<code><b>1</b></code>");
  });
});

test("only http and https links without a user's name are safe", () => {
  expect(safeLink("https://a.example/b")?.host).toBe("a.example");
  for (const href of [
    "javascript:x",
    "//a",
    "/a",
    "data:text/html,x",
    "https://a@b/",
    "ftp://a",
    "blob:https://a",
    "",
  ]) {
    expect(safeLink(href), href).toBeNull();
  }
});

test("attributes and elements are a closed list", () => {
  for (const tag of [
    "script",
    "img",
    "iframe",
    "svg",
    "style",
    "constructor",
    "annotation-xml",
    "mglyph",
    "semantics",
  ]) {
    expect(isAllowedTag(tag), tag).toBe(false);
  }
  for (const name of ["onclick", "style", "id", "src", "srcdoc", "href", "xlink:href", "actiontype"]) {
    for (const tag of ["p", "math", "mi", "menclose", "code"]) expect(isAllowedAttribute(tag, name, "x")).toBe(false);
  }
});

test("entities outside of Unicode are replaced", () => {
  expect(decodeEntities("&#0;&#xd800;&#x110000;")).toBe("\ufffd\ufffd\ufffd");
});

describe("a stream", () => {
  const text = [
    "# Title\n\nFirst *paragraph* with `code`.\n\n",
    "1. one\n2. two\n   - inner\n\n   more\n\nText\n\\[ a = b \\]\nafter $x$ it.\r\n\r\n",
    "```py\nprint('a')\n\n\nx = 1\n```\n\n| a | b |\n|---|--:|\n| 1 | $2$ |\n\n> quote\n> more\n\nEnd \\boxed{4}.",
  ].join("");

  test("ends as the text read at once", () => {
    const whole = render(text);
    for (const step of [1, 3, 7, 50]) {
      const stream = new MarkdownStream();
      for (let i = 0; i < text.length; i += step) stream.update(text.slice(0, i), true);
      const live = stream.update(text, true).map(markup).join("\n");
      expect(live, `live, step ${step}`).toBe(whole);
      expect(stream.update(text, false).map(markup).join("\n")).toBe(whole);
    }
  });

  test("keeps blocks that are through", () => {
    const stream = new MarkdownStream();
    const long = Array.from({ length: 9 }, (_, i) => `Paragraph ${i}`).join("\n\n");
    stream.update(long, true);
    const before = stream.update(long, true);
    const after = stream.update(`${long} goes on`, true);
    expect(after[0]).toBe(before[0]);
    expect(after.at(-1)).not.toBe(before.at(-1));
  });

  test("starts again with another text", () => {
    const stream = new MarkdownStream();
    stream.update("a\n\nb\n\nc\n\nd\n\ne\n\nf", true);
    expect(stream.update("other", true).map(markup)).toEqual(["<p>other</p>"]);
  });

  test("survives nesting without end", () => {
    const deep = `${">".repeat(3000)} x`;
    expect(planText(new MarkdownStream().update(deep, false)[0]!)).toContain("x");
    expect(render(`\\(${"{".repeat(3000)}x${"}".repeat(3000)}\\)`)).toContain("x");
  });
});
