"""Write the Modelfile that lets Ollama take a GGUF file: `ollama create NAME -f Modelfile`.

The template is the prompt and nothing else: the model continues texts and knows no roles. Line ends are LF, as Ollama wants them.
"""

from __future__ import annotations

from config import ModelConfig, SamplingConfig
from tokenizer import END_OF_TEXT

MODELFILE = "Modelfile"


def modelfile(config: ModelConfig, gguf_name: str) -> str:
    """Return the Modelfile for a GGUF file beside it, with our defaults for sampling."""
    sampling = SamplingConfig()
    parameters = {
        "num_ctx": config.max_seq_len,
        "num_predict": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
    }
    lines = [f"FROM ./{gguf_name}", 'TEMPLATE """{{ .Prompt }}"""', f'PARAMETER stop "{END_OF_TEXT}"']
    return "\n".join([*lines, *(f"PARAMETER {name} {value}" for name, value in parameters.items()), ""])
