"""New-LLM as a model of transformers: trained, generated from, saved and loaded like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from kitae.console import console
from kitae.i18n import t
from kitae.models.newllm.cache import ContextLayer
from kitae.models.newllm.cells import Cell, make_cell
from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.gru import GruBlock
from kitae.models.newllm.solve import Plan, Solution, Terms, solve


class Block(nn.Module):
    def __init__(self, config: NewLLMConfig, layers: int) -> None:
        super().__init__()
        self.cell: Cell = make_cell(config, layers)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, stream: torch.Tensor, start: torch.Tensor, plan: Plan, real: torch.Tensor | None
    ) -> tuple[torch.Tensor, Solution]:
        """`real`: which tokens are no padding, [batch, time, 1]; padding leaves contexts as they are."""
        tokens = self.cell.prepare(stream)

        def terms(before: torch.Tensor, times: slice) -> Terms:
            found = self.cell.terms(tokens[:, times], before)
            if real is None:
                return found
            kept = real[:, times]
            return Terms(torch.where(kept, found.a, 1.0), torch.where(kept, found.b, 0.0), found.reading)

        if not self.cell.feedback and plan.solver != "sequential":
            plan = Plan("gate-scan", passes=1)
        if plan.tolerance is not None:  # passes can't agree more closely than the layers round
            plan = replace(plan, tolerance=max(plan.tolerance, torch.finfo(tokens.dtype).eps))
        solution = solve(terms, (*stream.shape[:2], self.cell.context_size), start, plan)
        return self.cell.output(stream, self.dropout(solution.reading), solution.contexts), solution


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
        self.plan: Plan | None = None  # None: what the config says
        self.solutions: list[Solution] = []  # of the last forward pass, while they are asked for
        self.watched = False
        self._told = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value

    @property
    def current_plan(self) -> Plan:
        if self.plan is not None:
            return self.plan
        config = self.config
        if self.training:
            return Plan(config.solver, config.passes)
        return Plan(config.solver, config.max_passes, config.tolerance)

    @contextlib.contextmanager
    def solving(self, plan: Plan) -> Iterator[list[Solution]]:
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
        **_: Any,
    ) -> BaseModelOutputWithPast:
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
        for index, block in enumerate(self.blocks):
            layer = past_key_values.layers[index] if past_key_values is not None else None
            if self.training and self.config.block_dropout and float(torch.rand(())) < self.config.block_dropout:
                continue
            start = torch.zeros(len(stream), self.config.context_size, device=stream.device)
            if isinstance(layer, ContextLayer) and layer.context is not None:
                start = layer.context.to(start)
            stream, solution = block(stream, start, plan, real)
            if isinstance(layer, ContextLayer):
                layer.put(solution.contexts[:, -1], stream.shape[1])
            if self.watched:
                self.solutions.append(solution)
            if solution.unsettled and not self._told:
                self._told = True
                console.say(t("say.unsettled", block=index, solver=plan.solver, passes=solution.passes))
        return BaseModelOutputWithPast(last_hidden_state=self.norm(stream), past_key_values=past_key_values)


class NewLLMForCausalLM(NewLLMPreTrainedModel, GenerationMixin):  # type: ignore[misc]
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
    ) -> CausalLMOutputWithPast:
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=found.past_key_values)


AutoModelForCausalLM.register(NewLLMConfig, NewLLMForCausalLM, exist_ok=True)
