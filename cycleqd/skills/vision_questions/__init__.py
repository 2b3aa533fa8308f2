"""Questions about images, answered in a word or two: TextVQA, and the drawn shapes of the package `easy-vqa`.

A question's message names its image (`cycleqd.messages.Message`), and the skill finds it by that name. Replies are
scored as TextVQA scores them (`accuracy`). Public: `skill.EasyVqaSkill`, `skill.TextVqaSkill`.
"""
