from tests.vqa_data import easy_vqa, textvqa

__all__ = ["easy_vqa", "textvqa"]
