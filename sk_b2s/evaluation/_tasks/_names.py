"""Names and questions of the tasks.

They are not in the registry, so that the command line can list them
quickly.
"""

TASK_QUESTIONS = {
    "segment": "Which segment of speech was presented?",
    "match_mismatch": "Which of two segments was presented, the own one or an impostor a second away?",
    "match_mismatch_5": "Which of five segments of the same recording was presented?",
    "sentence": "Which sentence was presented?",
    "word": "Which of the most frequent words was presented?",
    "word_types": "Which of the most frequent words was presented, with no test segment as a candidate?",
    "phoneme": "Which phoneme was presented?",
    "speech": "Was speech or silence presented?",
    "reconstruction": "How similar are decoded and presented speech features?",
}
