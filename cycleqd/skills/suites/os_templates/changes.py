"""Changes of files and directories."""

from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.generation import Draft, Template, between, pick, pick_some, templates_of
from cycleqd.skills.suites.os_templates.layout import (
    EXTENSIONS,
    NOUNS,
    STEMS,
    WORDS,
    change,
    directory,
    file_in,
    lines,
    names,
    setup_script,
)


def _text(*content: str) -> str:
    return "".join(f"{line}\n" for line in content)


def make_directory(rng: np.random.Generator) -> Draft:
    """Make nested directories."""
    folder = directory(rng)
    a, b = pick_some(rng, WORDS, 2)
    return change(
        pick(rng, ("Create the directory {}.", "Make a directory {}.")).format(f"{folder}/{a}/{b}"),
        setup=setup_script({}, directories=[folder]),
        command=f"mkdir -p {folder}/{a}/{b}",
        probe=f"stat -c %F {folder}/{a}/{b}",
        expected="directory",
    )


def write_file(rng: np.random.Generator) -> Draft:
    """Create a file with a text."""
    folder = directory(rng)
    file, text = file_in(rng, folder), " ".join(pick_some(rng, WORDS, 2))
    ask = pick(rng, ("Create the file {0} with the text '{1}'.", "Write '{1}' into the new file {0}."))
    return change(
        ask.format(file, text),
        setup=setup_script({}, directories=[folder]),
        command=f"echo '{text}' > {file}",
        probe=f"cat {file}",
        expected=text,
    )


def append_line(rng: np.random.Generator) -> Draft:
    """Append a line."""
    file, text = file_in(rng, directory(rng)), " ".join(pick_some(rng, WORDS, 2))
    content = lines(rng, between(rng, 2, 4))
    return change(
        f"Append the line '{text}' to {file}.",
        setup=setup_script({file: content}),
        command=f"echo '{text}' >> {file}",
        probe=f"cat {file}",
        expected=_text(*content, text),
    )


def rename_file(rng: np.random.Generator) -> Draft:
    """Rename a file in place."""
    folder, extension = directory(rng), pick(rng, EXTENSIONS)
    old, new, other = names(rng, 3, extension)
    text = pick(rng, WORDS)
    return change(
        f"Rename {folder}/{old} to {folder}/{new}.",
        setup=setup_script({f"{folder}/{old}": [text], f"{folder}/{other}": ["x"]}),
        command=f"mv {folder}/{old} {folder}/{new}",
        probe=f"ls {folder} | LC_ALL=C sort; cat {folder}/{new}",
        expected=_text(*sorted([new, other]), text),
    )


def delete_file(rng: np.random.Generator) -> Draft:
    """Delete one file."""
    folder, extension = directory(rng), pick(rng, EXTENSIONS)
    gone, *kept = names(rng, between(rng, 3, 5), extension)
    return change(
        pick(rng, ("Delete the file {}.", "Remove {}.")).format(f"{folder}/{gone}"),
        setup=setup_script({f"{folder}/{name}": "x" for name in (gone, *kept)}),
        command=f"rm {folder}/{gone}",
        probe=f"ls {folder} | LC_ALL=C sort",
        expected=_text(*sorted(kept)),
    )


def set_mode(rng: np.random.Generator) -> Draft:
    """Set a file's mode."""
    file = file_in(rng, directory(rng), pick(rng, EXTENSIONS))
    mode = f"{pick(rng, (4, 6, 7))}{between(rng, 0, 5)}{between(rng, 0, 3)}"
    ask = pick(rng, ("Set the permissions of {} to {}.", "Change the permissions of {} to {}."))
    return change(
        ask.format(file, mode),
        setup=setup_script({file: "x"}) + f"\nchmod 777 {file}",
        command=f"chmod {mode} {file}",
        probe=f"stat -c %a {file}",
        expected=mode,
    )


def copy_file(rng: np.random.Generator) -> Draft:
    """Copy a file to another name."""
    folder, other = directory(rng), directory(rng) + "_" + pick(rng, WORDS)
    file, text = file_in(rng, folder), pick(rng, WORDS)
    copy = f"{other}/{pick(rng, STEMS)}.bak"
    return change(
        f"Copy {file} to {copy}.",
        setup=setup_script({file: [text]}, directories=[other]),
        command=f"cp {file} {copy}",
        probe=f"cat {file} {copy}",
        expected=_text(text, text),
    )


def move_into(rng: np.random.Generator) -> Draft:
    """Move all files of one extension into a directory."""
    folder, sub = directory(rng), pick(rng, NOUNS)
    extension, other = pick_some(rng, EXTENSIONS, 2)
    moved, kept = names(rng, between(rng, 2, 4), extension), names(rng, 2, other)
    return change(
        f"Move all .{extension} files of {folder} into {folder}/{sub}.",
        setup=setup_script({f"{folder}/{name}": "x" for name in (*moved, *kept)}, directories=[f"{folder}/{sub}"]),
        command=f"mv {folder}/*.{extension} {folder}/{sub}",
        probe=f"ls {folder}/{sub} | LC_ALL=C sort; ls {folder} | LC_ALL=C sort",
        expected=_text(*sorted(moved), *sorted([*kept, sub])),
    )


def replace_word(rng: np.random.Generator) -> Draft:
    """Replace a word in a file."""
    file = file_in(rng, directory(rng), pick(rng, ("txt", "md", "conf")))
    old, new, *others = pick_some(rng, WORDS, 6)
    content = [f"{old} {pick(rng, others)}", pick(rng, others), f"{pick(rng, others)} {old} {old}"]
    return change(
        f"Replace every '{old}' in {file} by '{new}'.",
        setup=setup_script({file: content}),
        command=f"sed -i 's/{old}/{new}/g' {file}",
        probe=f"cat {file}",
        expected=_text(*content).replace(old, new),
    )


def delete_by_extension(rng: np.random.Generator) -> Draft:
    """Delete all files of one extension."""
    folder = directory(rng)
    extension, other = pick_some(rng, EXTENSIONS, 2)
    gone, kept = names(rng, between(rng, 2, 4), extension), names(rng, between(rng, 2, 3), other)
    ask = pick(rng, ("Delete all .{} files in {}.", "Remove every .{} file from {}."))
    return change(
        ask.format(extension, folder),
        setup=setup_script({f"{folder}/{name}": "x" for name in (*gone, *kept)}),
        command=f"rm {folder}/*.{extension}",
        probe=f"ls {folder} | LC_ALL=C sort",
        expected=_text(*sorted(kept)),
    )


def make_link(rng: np.random.Generator) -> Draft:
    """Make a symbolic link."""
    folder, link = directory(rng), pick(rng, WORDS)
    file = file_in(rng, folder)
    return change(
        f"Create a symbolic link {folder}/{link} that points to {file}.",
        setup=setup_script({file: "x"}),
        command=f"ln -s {file} {folder}/{link}",
        probe=f"readlink {folder}/{link}",
        expected=file,
    )


def make_executable(rng: np.random.Generator) -> Draft:
    """Make scripts executable."""
    folder = directory(rng)
    scripts = names(rng, between(rng, 2, 3), "sh")
    ask = pick(rng, ("Make all .sh files in {} executable.", "Make every .sh script in {} executable."))
    return change(
        ask.format(folder),
        setup=setup_script({f"{folder}/{name}": "x" for name in (*scripts, "notes.txt")}) + f"\nchmod 644 {folder}/*",
        command=f"chmod +x {folder}/*.sh",
        probe=f"find {folder} -type f -perm /100 -name '*.*' | LC_ALL=C sort",
        expected=_text(*sorted(f"{folder}/{name}" for name in scripts)),
    )


def delete_line(rng: np.random.Generator) -> Draft:
    """Delete one line by number."""
    file, n = file_in(rng, directory(rng)), between(rng, 1, 5)
    content = pick_some(rng, WORDS, 6)
    return change(
        f"Delete line {n} of {file}.",
        setup=setup_script({file: content}),
        command=f"sed -i {n}d {file}",
        probe=f"cat {file}",
        expected=_text(*content[: n - 1], *content[n:]),
    )


def save_head(rng: np.random.Generator) -> Draft:
    """Copy the first lines into a file."""
    folder, n = directory(rng), between(rng, 2, 5)
    source, target = names(rng, 2, "txt")
    content = pick_some(rng, WORDS, 7)
    return change(
        f"Save the first {n} lines of {folder}/{source} as {folder}/{target}.",
        setup=setup_script({f"{folder}/{source}": content}),
        command=f"head -{n} {folder}/{source} > {folder}/{target}",
        probe=f"cat {folder}/{target}",
        expected=_text(*content[:n]),
    )


def remove_directory(rng: np.random.Generator) -> Draft:
    """Remove a directory with its files."""
    folder = directory(rng)
    gone, *kept = pick_some(rng, WORDS, 3)
    return change(
        f"Delete the directory {folder}/{gone} with all its files.",
        setup=setup_script({f"{folder}/{sub}/{pick(rng, STEMS)}.txt": "x" for sub in (gone, *kept)}),
        command=f"rm -r {folder}/{gone}",
        probe=f"ls {folder} | LC_ALL=C sort",
        expected=_text(*sorted(kept)),
    )


def save_tail(rng: np.random.Generator) -> Draft:
    """Copy the last lines into a file."""
    folder, n = directory(rng), between(rng, 2, 5)
    source, target = names(rng, 2, "txt")
    content = pick_some(rng, WORDS, 7)
    return change(
        f"Save the last {n} lines of {folder}/{source} as {folder}/{target}.",
        setup=setup_script({f"{folder}/{source}": content}),
        command=f"tail -{n} {folder}/{source} > {folder}/{target}",
        probe=f"cat {folder}/{target}",
        expected=_text(*content[-n:]),
    )


CHANGE_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            make_directory,
            write_file,
            append_line,
            rename_file,
            set_mode,
            move_into,
            replace_word,
            delete_by_extension,
            make_link,
            make_executable,
            delete_line,
            save_head,
            remove_directory,
        )
    ),
    *templates_of((delete_file, copy_file, save_tail), held_out=True),
)
