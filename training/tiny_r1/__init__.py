"""tiny-r1: a DeepSeek-V3 in miniature, trained on two CPU cores the way R1 was made."""
