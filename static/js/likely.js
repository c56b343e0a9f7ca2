// The view of probabilities: the less the model expected a word, the stronger its tint; a press on it shows what else could have stood there.

import { piecesOf, tail } from "./marks.js";
import { share, t } from "./text.js";

const MOST_CHARACTERS = 4000; // of a request, so that it stays within the server's tokens
const STEPS = [0.3, 0.1, 0.02, 0.003]; // below each of them the tint is one step stronger

export function likelyView({ form, manuscript, goOn }) {
  return {
    async ask(text, post) {
      const part = tail(text, MOST_CHARACTERS);
      const { tokens } = await post("/score", { model: form.elements.model.value, version: form.elements.version.value, text: part.text });
      return piecesOf(tokens, part.text, part.start);
    },
    told: () => "",
    marks: (pieces) => pieces.map((piece) => ({ start: piece.start, end: piece.end, key: piece.start, classes: [`surprise-${stepOf(probability(piece))}`] })),
    pointed: (piece) => ({
      title: `${visible(piece.tokens.map((token) => token.text).join(""))} · ${share(probability(piece))}`,
      note: t("js.alternatives"),
      items: piece.tokens[0].alternatives.map((each) => ({
        name: visible(each.text),
        share: Math.exp(each.logprob),
        is: each.id === piece.tokens[0].id,
        press: isText(each.text) ? () => goOn(manuscript.text.slice(0, piece.start) + each.text, piece.start) : null,
      })),
    }),
  };
}

const probability = (piece) => Math.exp(piece.tokens.reduce((sum, token) => sum + (token.logprob ?? 0), 0));
const stepOf = (value) => STEPS.filter((limit) => value < limit).length;
const isText = (token) => token !== "" && !token.startsWith("bytes:") && token !== "<|endoftext|>";

// Return a token so that its spaces can be seen.
function visible(token) {
  if (token === "<|endoftext|>") return t("js.token_end");
  if (token.startsWith("bytes:")) return t("js.token_part");
  return token.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}
