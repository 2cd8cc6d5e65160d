"""New-LLM as a model of transformers: trained, generated from, saved and loaded like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
    initialization as init,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from kitae.core.console import console
from kitae.core.i18n import t
from kitae.models.newllm.cache import ContextLayer
from kitae.models.newllm.cells import Cell, make_cell
from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.gru import GruBlock
from kitae.models.newllm.remembered import RememberedContexts
from kitae.models.newllm.solve import Solution, SolverPlan, solve
from kitae.models.newllm.terms import State, Terms

_ROUNDING = 4  # passes can't agree more closely than the layers round; measured: 0.5 in bf16, 2.4 with a matrix


class Block(nn.Module):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__()
        self.cell: Cell = make_cell(config, layers)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, rows: int, device: torch.device) -> State:
        return self.cell.start(rows, device)

    def forward(
        self,
        stream: torch.Tensor,
        state: State,
        plan: SolverPlan,
        real: torch.Tensor | None = None,
        guess: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Solution]:
        """`real`: which tokens are no padding, [batch, time, 1]; padding leaves the state as it is."""
        tokens = self.cell.prepare(stream)

        def terms(before: torch.Tensor, times: slice) -> Terms:
            found = self.cell.terms(tokens[:, times], before)
            return found if real is None else found.only(real[:, times])

        if not self.cell.feedback and plan.solver != "sequential":
            plan = SolverPlan("gate-scan", passes=1)
        if plan.tolerance is not None:
            plan = replace(plan, tolerance=max(plan.tolerance, _ROUNDING * torch.finfo(tokens.dtype).eps))
        solution = solve(terms, stream.shape[1], state, plan, guess)
        return self.cell.output(stream, self.dropout(solution.hidden), solution.contexts), solution


@dataclass
class BlocksOutput(BaseModelOutputWithPast):  # type: ignore[misc]
    unsettled: torch.Tensor | None = None  # how much the last pass still changed, summed over blocks, [batch, time]


@dataclass
class NewLLMOutput(CausalLMOutputWithPast):  # type: ignore[misc]
    added_loss: torch.Tensor | None = None  # what the model adds to the loss of each token, [batch, time]


class NewLLMPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    config_class = NewLLMConfig
    base_model_prefix = "model"
    _is_stateful = True
    _no_split_modules = ("Block",)

    def _init_weights(self, module: nn.Module) -> None:
        # transformers' own initialisers leave alone what was loaded.
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
            init.ones_(module.weight)
            if isinstance(module, nn.LayerNorm):
                init.zeros_(module.bias)
        elif isinstance(module, Cell):
            for name, value in module.first_values().items():
                init.copy_(getattr(module, name), value)
        elif isinstance(module, nn.GRU):
            for weights in module.parameters():
                init.uniform_(weights, -(module.hidden_size**-0.5), module.hidden_size**-0.5)


class NewLLMModel(NewLLMPreTrainedModel):
    def __init__(self, config: NewLLMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            GruBlock(config) if config.cell == "gru" else Block(config, layers) for layers in config.blocks
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-6)
        self.plan: SolverPlan | None = None  # None: what the config says
        self.solutions: list[Solution] = []  # of the last forward pass, while they are asked for
        self.watched = False
        self.contexts_frozen = False
        self.remembered: RememberedContexts | None = None  # only while they are frozen
        self._told = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value

    @property
    def each_block(self) -> list[Block | GruBlock]:
        return cast("list[Block | GruBlock]", list(self.blocks))

    @property
    def current_plan(self) -> SolverPlan:
        if self.plan is not None:
            return self.plan
        config = self.config
        if self.training and not self.contexts_frozen:  # frozen ones need no gradient, so no passes of equal cost
            return SolverPlan(config.solver, config.passes)
        return SolverPlan(config.solver, config.max_passes, config.tolerance)

    @contextlib.contextmanager
    def solving(self, plan: SolverPlan) -> Iterator[list[Solution]]:
        """Within it contexts are found by `plan`; gives the solutions of the last forward pass, one a block."""
        before, watched = self.plan, self.watched
        self.plan, self.watched = plan, True
        try:
            yield self.solutions
        finally:
            self.plan, self.watched = before, watched
            self.solutions.clear()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        guesses: Sequence[torch.Tensor] | None = None,
        **_: Any,
    ) -> BlocksOutput:
        """`guesses`: each block's contexts, where they are known from before; they are refined like any other."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("either input_ids or inputs_embeds")
        stream = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        real = None
        if attention_mask is not None and stream.shape[1] > 1 and not bool(attention_mask.all()):
            real = attention_mask[:, -stream.shape[1] :, None].bool()
        plan = self.current_plan
        self.solutions.clear()
        remembered = self.remembered if past_key_values is None and plan.tolerance is not None else None
        if remembered is not None and input_ids is not None:
            guesses = guesses or remembered.guesses(input_ids, [self.config.context_size] * len(self.blocks))
        unsettled = stream.new_zeros(stream.shape[:2], dtype=torch.float32) if self.training else None
        contexts: list[torch.Tensor] = []
        mixed = self._mixed_starts(stream, real) if self.training and self.config.mixing and past_key_values is None else None
        for index, block in enumerate(self.each_block):
            layer = past_key_values.layers[index] if past_key_values is not None else None
            if self.training and self.config.block_dropout and float(torch.rand(())) < self.config.block_dropout:
                continue
            state = block.start(len(stream), stream.device)
            if isinstance(layer, ContextLayer) and layer.state is not None:
                state = layer.state.to(stream.device)
            if mixed is not None:
                state = mixed[index]
            stream, solution = block(stream, state, plan, real, guesses[index] if guesses else None)
            if isinstance(layer, ContextLayer):
                layer.put(solution.end, stream.shape[1])
            contexts.append(solution.contexts)
            if self.watched:
                self.solutions.append(solution)
            if unsettled is not None and solution.passes > 1:
                unsettled = unsettled + solution.change
            if solution.unsettled and not self._told:
                self._told = True
                console.say(t("say.unsettled", block=index, solver=plan.solver, passes=solution.passes))
        if remembered is not None and input_ids is not None and len(contexts) == len(self.blocks):
            remembered.keep(input_ids, [block.detach() for block in contexts])
        return BlocksOutput(self.norm(stream), past_key_values, unsettled=unsettled)

    def _mixed_starts(self, stream: torch.Tensor, real: torch.Tensor | None) -> list[State]:
        """Some rows begin where another row of the batch ends, as dialogues and long texts do when a model is used.

        The ends are found in a run of its own, so nothing is carried from step to step that a checkpoint would have to hold.
        """
        rows = len(stream)
        starts = [block.start(rows, stream.device) for block in self.each_block]
        if rows == 1:  # its own end would tell it its own future
            return starts
        others = torch.arange(rows).roll(int(torch.randint(1, rows, ())))
        taken = (torch.rand(rows) < self.config.mixing).to(stream.device)

        def choose(own: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
            return torch.where(taken.view(-1, *[1] * (own.dim() - 1)), ends[others], own)

        with torch.no_grad():
            for index, (block, start) in enumerate(zip(self.each_block, starts, strict=True)):
                stream, solution = block(stream, start, self.current_plan, real)
                end = solution.end
                memory = None if start.memory is None or end.memory is None else choose(start.memory, end.memory)
                starts[index] = State(choose(start.context, end.context), memory)
        return starts


class NewLLMForCausalLM(NewLLMPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    carries_state = True  # so it has to be told which tokens are padding
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - as the parent spells it

    def __init__(self, config: NewLLMConfig) -> None:
        super().__init__(config)
        self.model = NewLLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **_: Any,
    ) -> NewLLMOutput:
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        added_loss = None if found.unsettled is None else self.config.settling * found.unsettled
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
            loss = loss if added_loss is None else loss + added_loss.mean()
        return NewLLMOutput(loss, logits, found.past_key_values, added_loss=added_loss)
