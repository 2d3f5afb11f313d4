import assert from "node:assert/strict";
import { test } from "node:test";
import { isCut } from "../pages/lib/cut";

// Parts of a third of a second, a key frame every two seconds.
const parts = Array.from({ length: 12 }, (_, i) => ({ start: i / 3, duration: 1 / 3, independent: i % 6 === 0 }));

test("rungs change where a part begins with a key frame, and nowhere else", () => {
  for (let i = 0; i < 12; i++) assert.equal(isCut(parts, i / 3 + 0.004), i % 6 === 0, `part ${i}`);
  assert.equal(isCut(parts, 0.2), false, "within a part");
  assert.equal(isCut(parts, 4), false, "what is not listed yet may not have one");
  assert.equal(isCut([], 0), false);
});

test("a whole segment begins with one", () => {
  assert.equal(isCut([{ start: 8, duration: 4, independent: true }], 8.02), true);
});
