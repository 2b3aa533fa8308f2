"""Questions about files and directories."""

from __future__ import annotations

import numpy as np

from cycleqd.skills.suites.generation import Draft, Template, between, pick, pick_some, templates_of
from cycleqd.skills.suites.os_templates.layout import (
    EXTENSIONS,
    NOUNS,
    STEMS,
    WORDS,
    directory,
    distinct_numbers,
    file_in,
    lines,
    names,
    question,
    setup_script,
)


def count_files(rng: np.random.Generator) -> Draft:
    """Count a directory's files."""
    folder, count = directory(rng), between(rng, 3, 14)
    extension = pick(rng, EXTENSIONS)
    files = {f"{folder}/{name}": "x" for name in names(rng, count, extension)}
    ask = pick(rng, ("How many files are in {}?", "Count the files in {}.", "How many files does {} contain?"))
    return question(ask.format(folder), setup=setup_script(files), command=f"ls {folder} | wc -l", answer=count)


def count_by_extension(rng: np.random.Generator) -> Draft:
    """Count files of one extension below a directory."""
    folder, count = directory(rng), between(rng, 2, 9)
    wanted, other = pick_some(rng, EXTENSIONS, 2)
    sub = pick(rng, NOUNS)
    files = {f"{folder}/{name}": "x" for name in names(rng, count, wanted)}
    files |= {f"{folder}/{sub}/{name}": "x" for name in names(rng, 1, wanted)}
    files |= {f"{folder}/{name}": "x" for name in names(rng, between(rng, 2, 5), other)}
    return question(
        f"How many .{wanted} files are in {folder} and its subdirectories?",
        setup=setup_script(files),
        command=f"find {folder} -name '*.{wanted}' | wc -l",
        answer=count + 1,
    )


def count_lines(rng: np.random.Generator) -> Draft:
    """Count a file's lines."""
    file, count = file_in(rng, directory(rng)), between(rng, 3, 40)
    return question(
        pick(rng, ("How many lines does {} have?", "Count the lines of {}.")).format(file),
        setup=setup_script({file: lines(rng, count, 1)}),
        command=f"wc -l < {file}",
        answer=count,
    )


def count_words(rng: np.random.Generator) -> Draft:
    """Count a file's words."""
    file = file_in(rng, directory(rng))
    content = [" ".join(pick_some(rng, WORDS, between(rng, 1, 6))) for _ in range(between(rng, 2, 6))]
    return question(
        pick(rng, ("How many words are in {}?", "Count the words of {}.")).format(file),
        setup=setup_script({file: content}),
        command=f"wc -w < {file}",
        answer=len(" ".join(content).split()),
    )


def count_matching(rng: np.random.Generator) -> Draft:
    """Count lines that contain a word."""
    file = file_in(rng, directory(rng), "log")
    word, *others = pick_some(rng, WORDS, 6)
    count = between(rng, 2, 12)
    content = [f"{word} {pick(rng, others)}" for _ in range(count)]
    content += [f"{pick(rng, others)} ok" for _ in range(between(rng, 2, 6))]
    return question(
        f"How many lines of {file} contain '{word}'?",
        setup=setup_script({file: [content[int(i)] for i in rng.permutation(len(content))]}),
        command=f"grep -c '{word}' {file}",
        answer=count,
    )


def largest_number(rng: np.random.Generator) -> Draft:
    """Find the maximum of a file."""
    file = file_in(rng, directory(rng), "dat")
    numbers = distinct_numbers(rng, between(rng, 4, 12))
    return question(
        pick(rng, ("What is the largest number in {}?", "Find the largest number in {}.")).format(file),
        setup=setup_script({file: list(map(str, numbers))}),
        command=f"sort -n {file} | tail -1",
        answer=max(numbers),
    )


def nth_line(rng: np.random.Generator) -> Draft:
    """Read one line of a file."""
    file, n = file_in(rng, directory(rng)), between(rng, 2, 9)
    content = lines(rng, n + between(rng, 1, 5))
    return question(
        f"What is line {n} of {file}?",
        setup=setup_script({file: content}),
        command=f"sed -n {n}p {file}",
        answer=content[n - 1],
    )


def last_line(rng: np.random.Generator) -> Draft:
    """Read the last line of a file."""
    file = file_in(rng, directory(rng), pick(rng, ("log", "txt")))
    content = lines(rng, between(rng, 3, 12))
    return question(
        f"What is the last line of {file}?",
        setup=setup_script({file: content}),
        command=f"tail -1 {file}",
        answer=content[-1],
    )


def biggest_file(rng: np.random.Generator) -> Draft:
    """Find the largest file by size."""
    folder = directory(rng)
    found = names(rng, between(rng, 3, 6), pick(rng, EXTENSIONS))
    sizes = distinct_numbers(rng, len(found), 5, 400)
    files = {f"{folder}/{name}": "x" * size for name, size in zip(found, sizes, strict=True)}
    ask = pick(rng, ("Which file in {} is the biggest?", "Name the biggest file in {}."))
    return question(
        ask.format(folder),
        setup=setup_script(files),
        command=f"ls -S {folder} | head -1",
        answer=found[sizes.index(max(sizes))],
    )


def permissions_of(rng: np.random.Generator) -> Draft:
    """Read a file's mode."""
    file = file_in(rng, directory(rng), pick(rng, EXTENSIONS))
    mode = f"{pick(rng, (4, 6, 7))}{between(rng, 0, 7)}{between(rng, 0, 7)}"
    return question(
        f"What are the permissions of {file} as an octal number?",
        setup=setup_script({file: "x"}) + f"\nchmod {mode} {file}",
        command=f"stat -c %a {file}",
        answer=mode,
    )


def size_of(rng: np.random.Generator) -> Draft:
    """Read a file's size."""
    file, size = file_in(rng, directory(rng), pick(rng, EXTENSIONS)), between(rng, 11, 600)
    return question(
        pick(rng, ("How many bytes does {} have?", "What is the size of {} in bytes?")).format(file),
        setup=setup_script({file: "x" * size}),
        command=f"wc -c < {file}",
        answer=size,
    )


def count_unique(rng: np.random.Generator) -> Draft:
    """Count distinct lines."""
    file, count = file_in(rng, directory(rng)), between(rng, 3, 12)
    unique = pick_some(rng, WORDS, count)
    content = unique + [pick(rng, unique) for _ in range(between(rng, 2, 6))]
    return question(
        pick(rng, ("How many different lines does {} have?", "Count the distinct lines of {}.")).format(file),
        setup=setup_script({file: [content[int(i)] for i in rng.permutation(len(content))]}),
        command=f"sort -u {file} | wc -l",
        answer=count,
    )


def file_containing(rng: np.random.Generator) -> Draft:
    """Find the file that contains a word."""
    folder = directory(rng)
    found = names(rng, between(rng, 3, 5), "txt")
    word, *others = pick_some(rng, WORDS, 6)
    files = {f"{folder}/{name}": [pick(rng, others), pick(rng, others)] for name in found}
    files[f"{folder}/{found[0]}"] = [others[0], word]
    return question(
        f"Which file in {folder} contains the word '{word}'? Give its full path.",
        setup=setup_script(files),
        command=f"grep -l '{word}' {folder}/*",
        answer=f"{folder}/{found[0]}",
    )


def locate_file(rng: np.random.Generator) -> Draft:
    """Find a file by name below a directory."""
    folder = directory(rng)
    subs = pick_some(rng, WORDS, 4)
    name = names(rng, 1, pick(rng, EXTENSIONS))[0]
    files = {f"{folder}/{sub}/other.txt": "x" for sub in subs}
    target = f"{folder}/{subs[0]}/{name}"
    return question(
        f"Where is the file {name} below {folder}? Give its full path.",
        setup=setup_script(files | {target: "x"}),
        command=f"find {folder} -name {name}",
        answer=target,
    )


def count_empty(rng: np.random.Generator) -> Draft:
    """Count empty files."""
    folder, count = directory(rng), between(rng, 2, 8)
    found = names(rng, count + between(rng, 2, 5), "txt")
    files = {f"{folder}/{name}": "" if i < count else "x" for i, name in enumerate(found)}
    return question(
        pick(rng, ("How many empty files are in {}?", "Count the empty files in {}.")).format(folder),
        setup=setup_script(files),
        command=f"find {folder} -type f -empty | wc -l",
        answer=count,
    )


def link_target(rng: np.random.Generator) -> Draft:
    """Read a symbolic link."""
    folder, stem = directory(rng), pick(rng, STEMS)
    target = file_in(rng, f"{folder}/{pick(rng, WORDS)}")
    return question(
        f"Where does the symbolic link {folder}/{stem} point to?",
        setup=setup_script({target: "x"}) + f"\nln -s {target} {folder}/{stem}",
        command=f"readlink {folder}/{stem}",
        answer=target,
    )


def smallest_number(rng: np.random.Generator) -> Draft:
    """Find the minimum of a file."""
    file = file_in(rng, directory(rng), "dat")
    numbers = distinct_numbers(rng, between(rng, 4, 12))
    return question(
        pick(rng, ("What is the smallest number in {}?", "Find the smallest number in {}.")).format(file),
        setup=setup_script({file: list(map(str, numbers))}),
        command=f"sort -n {file} | head -1",
        answer=min(numbers),
    )


def smallest_file(rng: np.random.Generator) -> Draft:
    """Find the smallest file by size."""
    folder = directory(rng)
    found = names(rng, between(rng, 3, 6), pick(rng, EXTENSIONS))
    sizes = distinct_numbers(rng, len(found), 5, 400)
    files = {f"{folder}/{name}": "x" * size for name, size in zip(found, sizes, strict=True)}
    return question(
        f"Which file in {folder} is the smallest?",
        setup=setup_script(files),
        command=f"ls -S {folder} | tail -1",
        answer=found[sizes.index(min(sizes))],
    )


def count_starting(rng: np.random.Generator) -> Draft:
    """Count lines that start with a word."""
    file = file_in(rng, directory(rng), "log")
    word, *others = pick_some(rng, WORDS, 6)
    count = between(rng, 2, 10)
    content = [f"{word} {pick(rng, others)}" for _ in range(count)]
    content += [f"{pick(rng, others)} {word}" for _ in range(between(rng, 1, 4))]
    return question(
        f"How many lines of {file} start with '{word}'?",
        setup=setup_script({file: [content[int(i)] for i in rng.permutation(len(content))]}),
        command=f"grep -c '^{word}' {file}",
        answer=count,
    )


QUESTION_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            count_files,
            count_by_extension,
            count_words,
            count_matching,
            largest_number,
            nth_line,
            last_line,
            biggest_file,
            permissions_of,
            size_of,
            count_unique,
            file_containing,
            locate_file,
            count_empty,
            link_target,
        )
    ),
    *templates_of((count_lines, smallest_number, smallest_file, count_starting), held_out=True),
)
