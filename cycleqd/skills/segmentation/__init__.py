"""Segmentation: find the object of a domain in an image, pixel by pixel.

A model is asked with a sample's id and a prompt, and replies with a map of probabilities; `metrics` measures it. The
four domains are those of CycleQD's Table 4: camouflaged animals, polyps, skin lesions, spots of leaves. They are
drawn here (`domains`) or read from published data sets (`datasets`).

The modules: `skill` has the classes that the table of skills names; `pictures` reads files and writes maps as text;
`prompts` has what a model is told; `drawing` and `distance` are tools of others.
"""
