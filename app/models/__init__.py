"""Every table. The tables hold the invariants, each as a named constraint; house words only.

Relationships are not declared: services say which rows they join, so no page can query by accident.
"""

from app.models.base import Base, Utc, last_midnight, utc_now
from app.models.chats import Chat, ChatTurn, Feedback, KeptAnswer, ProposedPrompt
from app.models.contenders import Contender, OutsideModel
from app.models.evaluations import Evaluation, EvaluationCandidate, EvaluationRest, EvaluationTask, Leaderboard
from app.models.people import (
    ApiKey,
    AuditEntry,
    Installation,
    Invitation,
    Membership,
    PasswordLink,
    RecoveryCode,
    SecondFactor,
    SignInSession,
    User,
)
from app.models.practice import PracticeTask, PracticeVerdict
from app.models.projects import Guideline, Project, Prompt
from app.models.quality import Check, Dispute, Doubt, Exclusion, Gold, JudgesReport
from app.models.rounds import ALONE, Checkpoint, Drawn, Generation, Round, Run, Worker, drawn, drawn_alone
from app.models.tasks import NEXT_PLACE, Label, RankedAnswer, Seat, Skip, Task
from app.models.webhooks import Announcement, Delivery, Webhook

__all__ = [
    "ALONE",
    "NEXT_PLACE",
    "Announcement",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Chat",
    "ChatTurn",
    "Check",
    "Checkpoint",
    "Contender",
    "Delivery",
    "Dispute",
    "Doubt",
    "Drawn",
    "Evaluation",
    "EvaluationCandidate",
    "EvaluationRest",
    "EvaluationTask",
    "Exclusion",
    "Feedback",
    "Generation",
    "Gold",
    "Guideline",
    "Installation",
    "Invitation",
    "JudgesReport",
    "KeptAnswer",
    "Label",
    "Leaderboard",
    "Membership",
    "OutsideModel",
    "PasswordLink",
    "PracticeTask",
    "PracticeVerdict",
    "Project",
    "Prompt",
    "ProposedPrompt",
    "RankedAnswer",
    "RecoveryCode",
    "Round",
    "Run",
    "Seat",
    "SecondFactor",
    "SignInSession",
    "Skip",
    "Task",
    "User",
    "Utc",
    "Webhook",
    "Worker",
    "drawn",
    "drawn_alone",
    "last_midnight",
    "utc_now",
]
