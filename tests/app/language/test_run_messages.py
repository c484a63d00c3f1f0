import re
from collections.abc import Iterator

import pytest

from app.errors import Conflict
from app.language import languages
from app.language.languages import known
from app.language.run_messages import told
from tests.app.language.test_translations import LATIN
from trainer.contract.config import label_of
from trainer.contract.messages import SETTINGS, Message, places
from trainer.contract.sentences import SENTENCES


@pytest.fixture
def chinese() -> Iterator[None]:
    languages.use("zh-Hant")
    yield
    languages.use(languages.SOURCE)


def test_a_message_is_told_in_the_readers_language_and_so_are_its_parts(chinese: None) -> None:
    said = Message("no_training", reason=Message("not_better_than_chance"))
    assert told(said) == "這一輪不往下訓練。對沒看過的判斷，它猜得不比碰運氣好。"


def test_numbers_settings_and_names_are_shown_as_they_are_read(chinese: None) -> None:
    assert told(Message("too_many_answers", answers=123456, most=20000)) == "那會有 123,456 個回答；一次執行最多寫 20,000 個。"
    assert told(Message("policy_of_round", number=12345)) == "第 12345 輪的策略模型"
    setting = known(label_of("ppo.episodes"))
    assert told(Message("must_divide", setting="ppo.episodes", value=1500)) == f"設定「{setting}」是 1,500，必須是它的倍數。"


def test_what_somebody_wrote_is_told_as_it_was_written(chinese: None) -> None:
    assert told(Message("written", text="100 % of <b>it</b> %(x)s")) == "100 % of <b>it</b> %(x)s"
    assert told(None) == ""


def test_a_refusal_speaks_to_its_reader_and_is_kept_for_every_other(chinese: None) -> None:
    refusal = Conflict(Message("no_prompt_to_answer"))
    assert refusal.detail == "沒有提示可以回答；請先匯入提示。"
    assert refusal.message == Message("no_prompt_to_answer")
    assert Conflict("Taken.").message == Message("written", text="Taken.")


# Words of the field that are the same in every language, and names of files, programs and what stands in files.
TERMS = re.compile(
    r"UTF-8|\b(MB|GiB)\b"
    r"|\b(KL|PPO|nats|token|JSON( Lines)?|SHA-256|TensorBoard|tensorboardX|RLOO|GRPO|DPO|KTO|PyTorch|GPU|Ray)\b"
    r"|\b(true|false|texts|overall|messages|role|content)\b"
    r"|\b(LoRA|GGUF|Hub|Hugging Face|transformers|bfloat16|float32|dtype|auto)\b|owner/name|llama-gguf-split --merge"
    r"|[Gg]it (LFS|lfs pull)|\.gguf|(\*\.)?safetensors|(run|config)\.json|`[^`]*`"
)


def an_example(code: str) -> Message:
    """The message with a 7 in every place, but where a setting is named."""
    return Message(code, **{name: "ppo.epochs" if name in SETTINGS else 7 for name in places(code)})


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_every_message_is_told_in_chinese(code: str, chinese: None) -> None:
    assert LATIN.findall(TERMS.sub("", told(an_example(code)))) == []
