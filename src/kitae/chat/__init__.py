"""The only place that knows how a conversation becomes token ids, a loss mask and stop tokens."""

from kitae.chat.codec import ChatCodec, Encoded, Span
from kitae.chat.conversation import ROLES, Conversation, Message
from kitae.chat.named import RAW, template_text
from kitae.chat.ollama import Modelfile, ollama_template, read_modelfile, render_ollama, sample_talks, takes_system
from kitae.chat.template import ChatTemplate
from kitae.chat.vocabulary import HfVocabulary, Vocabulary
from kitae.chat.window import fitting

__all__ = [
    "RAW",
    "ROLES",
    "ChatCodec",
    "ChatTemplate",
    "Conversation",
    "Encoded",
    "HfVocabulary",
    "Message",
    "Modelfile",
    "Span",
    "Vocabulary",
    "fitting",
    "ollama_template",
    "read_modelfile",
    "render_ollama",
    "sample_talks",
    "takes_system",
    "template_text",
]
