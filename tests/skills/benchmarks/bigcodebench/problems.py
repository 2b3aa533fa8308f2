"""Problems of our own in the form of BigCodeBench's, for an image with numpy and pandas."""

import json

MEANS = {
    "task_id": "BigCodeBench/0",
    "entry_point": "task_func",
    "code_prompt": "import pandas as pd\nimport io\ndef task_func(text):",
    "complete_prompt": "import pandas as pd\nimport io\n\n"
    'def task_func(text):\n    """Mean of each column of a CSV."""\n',
    "instruct_prompt": "Give the mean of each column of a CSV text as a dictionary.\n"
    "Begin with:\n```\nimport pandas as pd\nimport io\ndef task_func(text):\n```",
    "canonical_solution": "    return pd.read_csv(io.StringIO(text)).mean().to_dict()",
    "test": "import unittest\n"
    "class TestCases(unittest.TestCase):\n"
    "    def test_one(self):\n"
    "        self.assertEqual(task_func('a,b\\n1,2\\n3,4'), {'a': 2.0, 'b': 3.0})\n"
    "    def test_two(self):\n"
    "        self.assertEqual(task_func('a\\n5'), {'a': 5.0})\n",
    "libs": "['pandas', 'io']",
    "doc_struct": "{}",
}
FOLDER = MEANS | {
    "task_id": "BigCodeBench/1",
    "code_prompt": "import os\ndef task_func(name):",
    "complete_prompt": 'import os\n\ndef task_func(name):\n    """Makes a folder and says what is in it."""\n',
    "instruct_prompt": "Make a folder and give the names of what is in it.",
    "canonical_solution": "    os.makedirs(name)\n    return os.listdir(name)",
    "test": "import unittest, subprocess, tempfile, os\n"
    "from unittest.mock import patch\n"
    "class TestCases(unittest.TestCase):\n"
    "    def setUp(self):\n"
    "        self.place = tempfile.mkdtemp()\n"
    "    def test_empty(self):\n"
    "        self.assertEqual(task_func(os.path.join(self.place, 'x')), [])\n"
    "    def test_processes_may_be_started(self):\n"
    "        self.assertEqual(subprocess.run(['true']).returncode, 0)\n"
    "    @patch('os.listdir', return_value=['seen'])\n"
    "    def test_mocked(self, _):\n"
    "        self.assertEqual(task_func(os.path.join(self.place, 'y')), ['seen'])\n",
}

WRITES = MEANS | {
    "task_id": "BigCodeBench/2",
    "code_prompt": "import os\ndef task_func(path):",
    "complete_prompt": 'import os\n\ndef task_func(path):\n    """Makes a folder."""\n',
    "instruct_prompt": "Make a folder.",
    "canonical_solution": "    os.makedirs(path)",
    "test": "import unittest, tempfile, os\n"
    "class TestCases(unittest.TestCase):\n"
    "    def test_made(self):\n"
    "        path = os.path.join(tempfile.mkdtemp(), 'x')\n"
    "        task_func(path)\n"
    "        self.assertTrue(os.path.isdir(path))\n",
}
"""Its function gives nothing back."""


def write_problems(path, problems=(MEANS, FOLDER)):
    """Writes JSON lines; returns the path."""
    path.write_text("".join(f"{json.dumps(one)}\n" for one in problems))
    return path
