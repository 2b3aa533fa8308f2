"""Small files in the schemas of the published data sets."""

import json

import datasets

OS_PROMPT = "You will act on a Linux system. How many files are in the folder of the user called peter and his friend?"
DB_PROMPT = "I will ask you a question, and you operate a MySQL database to find the answer to that question for me."


def agent_flan_row(identifier, prompt=OS_PROMPT, *, answer="Think: count.\n\nAct: bash", loss=True):
    """The opening exchange is shown, not trained, as in the published rows."""
    return {
        "id": identifier,
        "conversation": [
            {"role": "user", "content": prompt, "loss": False},
            {"role": "assistant", "content": "Understood.", "loss": False},
            {"role": "user", "content": f"Now the question of {identifier}.", "loss": False},
            {"role": "assistant", "content": f"{answer} {identifier}", "loss": loss},
        ],
    }


def evol_row(number, instruction=None):
    return {"instruction": instruction or f"Write program {number}.", "response": f"print({number})"}


def oss_row(number):
    return {
        "lang": "python",
        "raw_index": number,
        "index": number,
        "seed": "x = 1",
        "openai_fingerprint": "fp",
        "problem": f"Write function {number}.",
        "solution": f"def f{number}(): return {number}",
    }


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_parquet(path, rows):
    datasets.Dataset.from_list(rows).to_parquet(path)
    return str(path)
