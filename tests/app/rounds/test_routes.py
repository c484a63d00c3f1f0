from __future__ import annotations

import html
import json
import re
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Checkpoint, Label, Project, Prompt, Round, Run, utc_now
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds import told
from tests.app.rounds.told import Told, tell
from trainer.contract.messages import Message

Browser = Callable[[str], TestClient]


@pytest.fixture
def story(engine: Engine, cast: Cast, settings: Settings) -> Told:
    with write_session(engine) as session:
        return tell(session, session.get_one(Project, cast.demo), settings.runs)


def seen(reply_text: str) -> str:
    """The words of a page, as a person reads them."""
    body = reply_text[reply_text.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def add_labels(engine: Engine, cast: Cast, count: int) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(count):
            task = factories.make_task(session, project)
            session.add(
                Label(
                    project_id=project.id,
                    task_id=task.id,
                    annotator_id=cast.mary,
                    client_id=str(uuid.uuid4()),
                    payload_hash="0" * 64,
                    kind="comparison",
                    choice="left",
                    left_generation_id=task.first_generation_id,
                    right_generation_id=task.second_generation_id,
                    guideline_version=1,
                    interface_version="1",
                    served_reason="random",
                )
            )


# Rounds


def test_the_list_says_what_a_round_needs_when_there_is_none(client: TestClient, cast: Cast) -> None:
    assert "No round yet" in seen(client.get("/projects/demo/rounds").text)


def test_the_list_shows_each_round_with_its_figures(client: TestClient, story: Told) -> None:
    words = seen(client.get("/projects/demo/rounds").text)
    assert "Round 1 waits for a decision 120 71% new labels" in words


def test_older_rounds_are_a_page_away(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number in range(1, 28):
            session.add(
                Round(
                    project_id=project.id,
                    number=number,
                    state="refused",
                    trigger="admin",
                    label_count=1,
                    start_policy_id=project.policy_id,
                )
            )
    first = client.get("/projects/demo/rounds").text
    link = re.search(r'href="(\?before=\d+)"', first)
    assert link is not None
    second = seen(client.get("/projects/demo/rounds" + link.group(1)).text)
    assert "Round 27" in seen(first)
    assert "Round 2 " in second
    assert "Round 3 " not in second


def test_a_round_cannot_be_started_with_too_few_labels(as_user: Browser, cast: Cast) -> None:
    browser = as_user("Grace")
    page = browser.get("/projects/demo/rounds/new")
    assert "So far: 0 labels. A reward model is fitted on 30 or more, so 30 to go." in seen(page.text)
    assert re.search(r"<button[^>]* disabled>Start the round", page.text)
    refused = browser.post("/projects/demo/rounds")
    assert refused.status_code == 409
    assert "A round needs at least 30 labels" in seen(refused.text)


def test_an_admin_starts_a_round_and_sees_how_long_it_should_take(as_user: Browser, cast: Cast, engine: Engine) -> None:
    add_labels(engine, cast, 30)
    browser = as_user("Grace")
    words = seen(browser.get("/projects/demo/rounds/new").text)
    assert "It will learn from 30 labels" in words
    assert re.search(r"It should take about \d+ minutes", words)
    started = browser.post("/projects/demo/rounds")
    assert started.status_code == 303
    page = seen(browser.get(started.headers["location"]).text)
    assert "Round 1 has started." in page
    assert "by Grace" in page
    assert "No worker is running" in page


def with_lengths(engine: Engine, cast: Cast, tokens: list[int | None], split: str = "train") -> None:
    with write_session(engine) as session:
        for each in tokens:
            factories.make_prompt(session, cast.demo, tokens=each, split=split)


def test_before_a_round_starts_the_page_counts_what_settings_leave_out(as_user: Browser, cast: Cast, engine: Engine) -> None:
    with_lengths(engine, cast, [128, 129, 5, None, 0])
    with_lengths(engine, cast, [10, 11, 400], "holdout")
    words = seen(as_user("Grace").get("/projects/demo/rounds/new").text)
    assert "1 prompt of 5 to train on: longer than “Longest prompt” (128 tokens)." in words
    assert "1 prompt: refused by the model's chat template." in words
    assert "1 prompt: not counted yet." in words
    assert "Held-out prompts are not watched: so far 2 prompts, of 4 at least." in words
    assert "Nothing: all" not in words


def test_where_nothing_is_left_out_it_says_so(as_user: Browser, cast: Cast, engine: Engine) -> None:
    with_lengths(engine, cast, [128, 9])
    with_lengths(engine, cast, [10, 11, 12, 128], "holdout")
    words = seen(as_user("Grace").get("/projects/demo/rounds/new").text)
    assert "Nothing: all 2 prompts to train on are short enough, and every judged answer is read whole." in words
    assert "not watched" not in words


def test_answers_that_the_reward_model_would_cut_are_counted_before_a_round(as_user: Browser, cast: Cast, engine: Engine) -> None:
    add_labels(engine, cast, 30)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).training = {"reward": {"max_tokens": 16}}
        session.execute(update(Prompt).where(Prompt.project_id == cast.demo).values(tokens=15))
    words = seen(as_user("Grace").get("/projects/demo/rounds/new").text)
    assert "Of judged answers the reward model would read only a part: of 60 answers (“Tokens read”: 16 tokens)." in words


def test_no_round_is_started_by_hand_where_every_prompt_is_too_long(as_user: Browser, cast: Cast, engine: Engine) -> None:
    add_labels(engine, cast, 30)
    with write_session(engine) as session:
        session.execute(update(Prompt).where(Prompt.project_id == cast.demo).values(tokens=300))
    browser = as_user("Grace")
    page = browser.get("/projects/demo/rounds/new").text
    assert "All prompts of this project are too long to train on: “Longest prompt” is 128 tokens" in seen(page)
    assert re.search(r"<button[^>]* disabled>Start the round", page)
    refused = browser.post("/projects/demo/rounds")
    assert refused.status_code == 409
    assert "the shortest of them has 300 tokens" in seen(refused.text)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).training = {"ppo": {"max_prompt_tokens": 300}}
    assert browser.post("/projects/demo/rounds").status_code == 303


def test_a_reward_models_page_says_on_what_it_agrees_and_how_sure_it_may_be(client: TestClient, story: Told) -> None:
    page = client.get(f"/checkpoints/{story.reward}").text
    words = seen(page)
    assert "By criterion Criterion Judgements Agrees 95% interval Weight in PPO's reward clear 80 66% 55% to 76% 0.500" in words
    assert "rare 3 – – 0" in words
    assert "annotator-1 150 71% – 0.910" in words
    assert "The shorter answer was chosen 60 58%" in words
    assert "layer 16 55%" in words
    assert "53% 50% 38" in words
    assert page.count('class="diagram__gap"') == 4
    assert 'cx="52.0" cy="110.0"' in page  # 53% sure, right on 50%


def test_a_round_is_told_from_labels_to_decision(client: TestClient, story: Told) -> None:
    words = seen(client.get(f"/rounds/{story.round}").text)
    assert "120 labels , all that were given by then. In detail: 165 comparisons (15 ties, 0 both bad)." in words
    assert "on 71% of the comparisons it had not seen (95% interval 64% to 78%, n = 150)" in words
    assert "A perfect model would reach 90% at most (95% interval 78% to 97%): people agree with each other on 82%" in words
    assert "score went from −0.120 to 0.810" in words
    assert "Held out 1.1 Before It was dark and stormy. After You will like this: <b>sun</b>." in words
    assert "Promote the candidate" in words


def test_a_round_whose_score_did_not_rise_says_so_before_anybody_promotes(
    client: TestClient, engine: Engine, story: Told
) -> None:
    warning = "The score did not rise"
    assert warning not in seen(client.get(f"/rounds/{story.round}").text)

    with write_session(engine) as session:
        ppo = session.scalars(select(Run).where(Run.kind == "ppo")).one()
        ppo.result = ppo.result | {"score": -0.2}

    assert warning in seen(client.get(f"/rounds/{story.round}").text)


def test_a_run_on_its_last_step_is_finishing(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, "ppo", state="running", step=3, total=3).id

    assert "Step 3 of 3 ; finishing." in seen(client.get(f"/runs/{run_id}").text)


def test_a_round_that_computes_says_what_comes_next(client: TestClient, engine: Engine, story: Told) -> None:
    with write_session(engine) as session:
        session.get_one(Round, story.round).state = "sample"
        run = session.get_one(Run, story.sample)
        run.state, run.step, run.total, run.eta_s, run.ended_at = "running", 40, 80, 120.0, None
        told.a_worker(session)
    page = client.get(f"/rounds/{story.round}").text
    assert "Step 40 of 80 , 3.0 s a step, about 2 minutes left." in seen(page)
    assert 'data-connect="refresh"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "Promote the candidate" not in page


def test_a_round_that_waits_for_the_worker_is_not_said_to_compute(client: TestClient, engine: Engine, story: Told) -> None:
    with write_session(engine) as session:
        session.get_one(Round, story.round).state = "sample"
        session.get_one(Run, story.sample).state = "queued"
        told.a_worker(session)
    pages = [f"/rounds/{story.round}", "/projects/demo/rounds", "/projects/demo"]
    assert [seen(client.get(page).text).count("waits for its turn") for page in pages] == [1, 1, 3]
    with write_session(engine) as session:
        session.get_one(Run, story.sample).state = "running"
    assert not any("waits for its turn" in client.get(page).text for page in pages)


def test_a_later_round_says_how_many_labels_are_new(client: TestClient, engine: Engine, story: Told) -> None:
    with write_session(engine) as session:
        session.get_one(Round, story.round).number = 2
    assert "120 labels , 120 of them new since the round before." in seen(client.get(f"/rounds/{story.round}").text)


def test_a_round_that_stopped_itself_says_why_and_what_is_safe(client: TestClient, engine: Engine, story: Told) -> None:
    with write_session(engine) as session:
        round_ = session.get_one(Round, story.round)
        round_.state, round_.reason, round_.ended_at = "refused", factories.written("accuracy .52, interval .41-.63"), utc_now()
    page = client.get(f"/rounds/{story.round}").text
    assert "The round stopped itself accuracy .52, interval .41-.63 The policy stays as it was" in seen(page)
    assert re.search(r'href="/projects/demo/annotate"[^>]*>\s*Label answers', page), "what helps is one click away"


def test_promoting_the_candidate_makes_it_the_policy(as_user: Browser, engine: Engine, story: Told, cast: Cast) -> None:
    browser = as_user("Grace")
    reply = browser.post(f"/checkpoints/{story.candidate}/promotion")
    assert "Policy of round 1 is the policy now." in seen(browser.get(reply.headers["location"]).text)
    assert "Grace promoted Policy of round 1" in seen(browser.get(f"/rounds/{story.round}").text)
    with read_session(engine) as session:
        assert session.get_one(Project, cast.demo).policy_id == story.candidate


def test_rejecting_the_candidate_keeps_the_policy_and_the_reason(
    as_user: Browser, engine: Engine, story: Told, cast: Cast
) -> None:
    browser = as_user("Grace")
    browser.post(f"/rounds/{story.round}/rejection", data={"reason": " Longer, not better. "})
    assert "Grace rejected Policy of round 1 just now . “Longer, not better.”" in seen(browser.get(f"/rounds/{story.round}").text)
    with read_session(engine) as session:
        assert session.get_one(Project, cast.demo).policy_id != story.candidate


@pytest.mark.parametrize("reason", ["a\0b", "x" * 2001])
def test_a_reason_that_cannot_be_stored_decides_nothing(as_user: Browser, engine: Engine, story: Told, reason: str) -> None:
    browser = as_user("Grace")
    for place in (f"/rounds/{story.round}/rejection", f"/checkpoints/{story.candidate}/promotion"):
        refused = browser.post(place, data={"reason": reason, "confirm": "yes"})
        assert (refused.status_code, "reason" in seen(refused.text)) == (422, True)
    with read_session(engine) as session:
        assert session.get_one(Round, story.round).decision is None


def test_a_decision_is_made_once(as_user: Browser, story: Told) -> None:
    browser = as_user("Grace")
    browser.post(f"/rounds/{story.round}/rejection")
    assert browser.post(f"/rounds/{story.round}/rejection").status_code == 409


def test_a_reviewer_reads_and_an_admin_decides(as_user: Browser, story: Told) -> None:
    reviewer = as_user("Alan")
    page = reviewer.get(f"/rounds/{story.round}")
    assert page.status_code == 200
    assert "Promote the candidate" not in page.text
    assert reviewer.post(f"/checkpoints/{story.candidate}/promotion").status_code == 403


# Runs


def test_a_run_shows_its_figures_its_panel_and_its_log(client: TestClient, story: Told) -> None:
    page = client.get(f"/runs/{story.ppo}").text
    words = seen(page)
    assert f'src="/runs/{story.ppo}/charts/rollout/score.svg?step=4"' in page
    assert "2 more figures" in words
    assert "Held out 1.1 Step 0 score 0 Answer at step 0 Step 4 score 0.400, KL 4 nats Answer at step 4" in words
    assert "[4/5] score +0.80" in words
    assert "Policy of round 1" in words


def test_the_panel_shows_the_step_asked_for(client: TestClient, story: Told) -> None:
    assert "Answer at step 2" in seen(client.get(f"/runs/{story.ppo}?step=2").text)
    assert "Answer at step 4" in seen(client.get(f"/runs/{story.ppo}?step=99").text)


def test_a_chart_is_a_picture_with_a_policy_of_its_own(client: TestClient, story: Told) -> None:
    reply = client.get(f"/runs/{story.ppo}/charts/rollout/score.svg?step=4")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "image/svg+xml"
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert client.get(f"/runs/{story.ppo}/charts/no/such.svg").status_code == 404
    assert client.get(f"/runs/{story.ppo}/charts/../../../etc/passwd").status_code == 404


def test_the_numbers_of_a_chart_can_be_read_as_a_table(client: TestClient, story: Told) -> None:
    assert "step value 95% from to 0 0 −0.346 0.346" in seen(client.get(f"/runs/{story.ppo}").text)


def test_a_waiting_run_says_what_it_waits_for(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        told.a_worker(session)
        busy = factories.make_run(session, cast.demo, state="running", eta_s=300.0)
        waiting = factories.make_run(session, cast.demo, "reward", state="queued").id
        busy_id = busy.id
    page = client.get(f"/runs/{waiting}").text
    assert "The worker is writing answers ; this comes after it. It should start in about 5 minutes." in seen(page)
    assert f'href="/runs/{busy_id}"' in page


def test_an_admin_cancels_a_run(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, state="queued").id
    browser = as_user("Grace")
    assert "Cancel the run" in browser.get(f"/runs/{run_id}").text
    reply = browser.post(f"/runs/{run_id}/cancel")
    assert "cancelled" in seen(browser.get(reply.headers["location"]).text)
    assert browser.post(f"/runs/{run_id}/cancel").status_code == 409


def test_a_failed_run_says_why_and_what_is_safe(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, state="failed", message=factories.written("Out of memory.")).id
    words = seen(client.get(f"/runs/{run_id}").text)
    assert "It failed Out of memory. Nothing that people labelled is affected." in words


def test_a_run_that_waits_for_a_cluster_is_not_said_to_load_its_model(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        told.a_worker(session)
        run_id = factories.make_run(session, cast.demo, state="running", message=Message("waiting_for_cluster")).id
    words = seen(client.get(f"/runs/{run_id}").text)
    assert "Waiting. Waiting for room in the Ray cluster" in words
    assert "Loading the model" not in words


def test_a_sample_run_shows_answers_to_held_out_prompts_only(client: TestClient, engine: Engine, story: Told, cast: Cast) -> None:
    with write_session(engine) as session:
        asked = factories.make_prompt(session, cast.demo, "Asked of people")
        factories.make_generation(session, asked, story.candidate, "Secret before the verdict.", run_id=story.sample)
    page = client.get(f"/runs/{story.sample}").text
    assert "You will like this" in page
    assert "Secret before the verdict." not in page


# Checkpoints


def test_checkpoints_show_what_they_grew_out_of(client: TestClient, story: Told) -> None:
    words = seen(client.get("/projects/demo/checkpoints").text)
    assert "Policy of round 1 policy Base model" in words
    assert "Reward model of round 1 reward model Base model right on 71%" in words
    assert "Base model the policy" in words


def test_a_checkpoint_shows_its_family_its_files_and_its_manifest(
    client: TestClient, engine: Engine, story: Told, settings: Settings
) -> None:
    told.keep_checkpoint(settings.data / "kept")
    with write_session(engine) as session:
        checkpoint = session.get_one(Checkpoint, story.candidate)
        checkpoint.source = "kept"
        factories.make_checkpoint(session, checkpoint.project_id, name=factories.written("A child"), parent_id=checkpoint.id)
    words = seen(client.get(f"/checkpoints/{story.candidate}").text)
    assert "A child policy, made just now Policy of round 1 this one Base model no parent" in words
    assert "adapter.safetensors 2.0 KiB ababababab" in words
    assert '"format": 1' in words
    assert f"tastemaker checkpoint export {story.candidate} writes it as plain transformers opens it" in words
    assert "Files of the export" not in words
    with read_session(engine) as session:
        run_id = session.get_one(Checkpoint, story.candidate).run_id
    told.keep_checkpoint(settings.runs / str(run_id) / "export")
    page = client.get(f"/checkpoints/{story.candidate}").text
    assert f'href="/api/v1/checkpoints/{story.candidate}/export/adapter.safetensors"' in page


def test_a_checkpoint_of_another_project_does_not_exist(as_user: Browser, story: Told) -> None:
    assert as_user("Eve").get(f"/checkpoints/{story.candidate}").status_code == 404


def test_an_admin_trains_on_labels_and_reads_what_came_out(
    as_user: Browser, engine: Engine, cast: Cast, settings: Settings
) -> None:
    grace = as_user("Grace")
    page = grace.get("/projects/demo/preference").text
    assert "Nobody has judged an answer to a training prompt yet." in page
    assert "Start training" not in page
    early = grace.post("/projects/demo/preference", data={"method": "dpo"})
    assert (early.status_code, "Nobody has judged an answer" in early.text) == (422, True)
    add_labels(engine, cast, 3)
    words = seen(grace.get("/projects/demo/preference").text)
    assert "People gave 3 labels so far that training may use." in words
    assert all(f"{name} (3 labels)" in words for name in ("DPO", "DPO, length-normalised", "KTO"))
    refused = grace.post("/projects/demo/preference", data={"method": "ipo"})
    assert (refused.status_code, "This must be one of dpo, dpo_normalised, kto." in refused.text) == (422, True)
    queued = grace.post("/projects/demo/preference", data={"method": "kto"})
    assert queued.status_code == 303
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.sampling = {"temperature": 0.9, "max_new_tokens": 50}
        run = session.scalars(select(Run).where(Run.kind == "preference")).one()
        assert (run.inputs, run.config["method"], run.created_by) == ({"start": demo.policy_id}, "kto", cast.grace)
        run.state, run.result = "done", {"preferred_accuracy": 0.75, "kl_nats_per_answer": 4.5}
        made = factories.make_checkpoint(
            session, demo.id, name=factories.written("Taught"), parent_id=demo.policy_id, run_id=run.id, metrics=run.result
        ).id
        number = run.id
    folder = settings.runs / str(number)
    folder.mkdir(parents=True)
    looks = [{"step": step, "prompt_id": 1, "text": f"Answer {step}.", "kl_nats": step / 2} for step in (0, 9)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in looks))
    words = seen(grace.get(f"/runs/{number}").text)
    assert "Training on labels" in words
    assert "Sides with people" in words
    assert "Step 9 KL 4.50 nats Answer 9." in words
    assert "sides with people on 75%, KL 4.50 nats" in seen(grace.get("/projects/demo/checkpoints").text)
    assert f"/projects/demo/rounds/new?start={made}" in grace.get(f"/checkpoints/{made}").text
    grace.post("/projects/demo/preference", data={"start": str(made)})
    with write_session(engine) as session:
        later = session.scalars(select(Run).where(Run.kind == "preference").order_by(Run.id.desc())).first()
        assert later is not None
        assert later.inputs == {"start": made}
        assert (later.config["temperature"], later.config["max_new_tokens"]) == (0.9, 50)  # as the answers people judge


def test_each_method_of_training_on_labels_says_what_it_learns_from_and_none_starts_without(
    as_user: Browser, engine: Engine, cast: Cast
) -> None:
    grace = as_user("Grace")
    add_labels(engine, cast, 8)
    with write_session(engine) as session:
        labels = session.scalars(select(Label)).all()
        for label, overall in zip(labels, (5, 4, 3, 2, 1, None, None, None), strict=True):
            if overall is None:
                label.choice = "tie"
            else:
                label.kind, label.choice, label.overall, label.right_generation_id = "rating", None, overall, None
        labels[5].choice = "both_bad"
        tied = labels[6].id
    page = grace.get("/projects/demo/preference").text
    words = seen(page)
    assert "People gave 8 labels so far that training may use." in words
    assert "DPO (0 labels)" in words
    assert "KTO (5 labels)" in words  # all ratings but the middle one, and two bad answers
    assert re.search(r'<option value="kto" selected', page)
    refused = grace.post("/projects/demo/preference", data={"method": "dpo"})
    assert (refused.status_code, "DPO needs comparisons in which one answer was preferred" in refused.text) == (422, True)
    assert re.search(r'<option value="dpo" selected', refused.text)  # what was asked for
    with write_session(engine) as session:
        session.get_one(Label, tied).rewrite = {"side": "left", "text": "Better."}
    assert "DPO (1 label)" in seen(grace.get("/projects/demo/preference").text)
    assert grace.post("/projects/demo/preference", data={"method": "dpo"}).status_code == 303


def test_an_admin_trains_on_rewrites_and_starts_a_round_from_what_came_out(
    as_user: Browser, engine: Engine, cast: Cast, settings: Settings
) -> None:
    grace = as_user("Grace")
    assert "Nobody has rewritten an answer" in grace.get("/projects/demo/sft").text
    add_labels(engine, cast, 30)
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        session.scalars(select(Label).limit(1)).one().rewrite = {"side": "left", "text": "Better."}
        base = demo.policy_id
    page = grace.get("/projects/demo/sft").text
    assert "1 rewrite" in page
    refused = grace.post("/projects/demo/sft", data={"source": "gone.txt"})
    assert (refused.status_code, "no text named gone.txt" in refused.text) == (404, True)
    queued = grace.post("/projects/demo/sft", data={"source": "", "base": str(base)})
    assert queued.status_code == 303
    with write_session(engine) as session:
        run = session.scalars(select(Run).where(Run.kind == "sft")).one()
        assert (run.inputs, run.created_by) == ({"text": None, "rewrites": True, "base": base}, cast.grace)
        made = factories.make_checkpoint(session, cast.demo, name=factories.written("Taught"), parent_id=base, run_id=run.id).id
    link = f"/projects/demo/rounds/new?start={made}"
    assert link in grace.get(f"/checkpoints/{made}").text
    assert f'<option value="{made}" selected>Taught</option>' in grace.get(link).text
    grace.post("/projects/demo/rounds", data={"start": str(made)})
    with write_session(engine) as session:
        assert session.scalars(select(Round)).one().start_policy_id == made
