"""The model and the sandbox that inspect_ai's tasks are given."""

from __future__ import annotations

import asyncio
import base64
import inspect
from typing import Any, Final

from cycleqd.skills.benchmarks.inspect_task.worker.stage import (
    NAME,
    Sample,
    Stage,
    current,
    judging,
    limit,
    on_stage,
    refuse,
)
from cycleqd.skills.benchmarks.inspect_task.worker.tasks import ASKS_ITSELF

GO_ON: Final = "Continue."
"""The user's turn where a solver asks for a second reply in a row."""


def register() -> None:
    """Makes the stand-ins known to inspect_ai."""
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        GenerateConfig,
        ModelAPI,
        ModelOutput,
        modelapi,
    )
    from inspect_ai.model._providers.util import Llama31Handler
    from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironment, sandboxenv

    def handler_of(model: str) -> Any:
        wants_model = "model" in inspect.signature(Llama31Handler).parameters
        return Llama31Handler(model) if wants_model else Llama31Handler()

    @modelapi(name=NAME)
    class Player(ModelAPI):  # type: ignore[misc]
        """Asks who started this process for every reply."""

        def __init__(
            self,
            model_name: str,
            base_url: str | None = None,
            api_key: str | None = None,
            config: GenerateConfig = GenerateConfig(),  # noqa: B008 -- as inspect_ai's own do
            **_: Any,
        ) -> None:
            super().__init__(model_name, base_url, api_key, [], config)

        def max_connections(self) -> int:
            """Strict rounds wait for all samples: none may wait for another one's reply."""
            return 1_000_000

        async def generate(self, input: list[Any], tools: list[Any], tool_choice: Any, config: Any) -> Any:
            stage, key = on_stage(), current.get()
            if judging.get():
                refuse(stage, ASKS_ITSELF)
                raise RuntimeError(ASKS_ITSELF)
            if key is None:
                raise RuntimeError("the task asks the model outside of a sample")
            sample = stage.samples[key]
            handler = handler_of(self.model_name)
            shown = handler.input_with_tools(input, tools) if tools and tool_choice != "none" else input
            # Who no longer waits for a reply, such as a solver with a deadline, does not take the next one's.
            asking = asyncio.ensure_future(_asked(stage, key, shown, handler))
            turn, written = await asyncio.shield(asking)
            text = written
            for stop in config.stop_seqs or ():
                text = text.partition(stop)[0]
            message = (
                handler.parse_assistant_response(text, tools)
                if tools
                else ChatMessageAssistant(content=text, source="generate")
            )
            for number, call in enumerate(message.tool_calls or ()):
                call.id = f"call_{turn}_{number}"  # inspect_ai draws one, and repeats "unknown"
            sample.written[_made_of(message)] = written
            reason = "tool_calls" if message.tool_calls else "stop"
            return ModelOutput(
                model=self.model_name, choices=[ChatCompletionChoice(message=message, stop_reason=reason)]
            )

    @sandboxenv(name=NAME)
    class Box(SandboxEnvironment):  # type: ignore[misc]
        """A container of who started this process."""

        def __init__(self, key: str, number: int) -> None:
            self._key = key
            self._number = number

        async def _act(self, operation: str, **arguments: Any) -> dict[str, Any]:
            stage = on_stage()
            sample = stage.samples[self._key]
            if not stage.score:  # only what the model is asked first is wanted
                sample.touched |= sample.began
                return {"stdout": "", "stderr": "", "returncode": 0, "content": ""}
            call = f"act {next(stage.calls)}"
            answer = await stage.link.ask(
                call,
                "act",
                call=call,
                sample=self._key,
                box=self._number,
                operation=operation,
                arguments=arguments,
            )
            if error := answer.get("error"):
                kind, text = error
                if kind == "OutputLimitExceededError":
                    raise OutputLimitExceededError(text, None)
                raise _ERRORS.get(kind, RuntimeError)(text)
            found: dict[str, Any] = answer["result"]
            return found

        async def exec(
            self,
            cmd: list[str],
            input: str | bytes | None = None,
            cwd: str | None = None,
            env: dict[str, str] | None = None,
            user: str | None = None,
            timeout: int | None = None,
            **_: Any,
        ) -> Any:
            data = input.encode() if isinstance(input, str) else input
            done = await self._act(
                "exec",
                cmd=cmd,
                input=None if data is None else base64.b64encode(data).decode(),
                cwd=cwd,
                env=env or {},
                user=user,
                timeout=timeout,
            )
            return ExecResult(done["returncode"] == 0, done["returncode"], done["stdout"], done["stderr"])

        async def write_file(self, file: str, contents: str | bytes) -> None:
            data = contents.encode() if isinstance(contents, str) else contents
            await self._act("write", file=file, content=base64.b64encode(data).decode())

        async def read_file(self, file: str, text: bool = True) -> str | bytes:
            data = base64.b64decode((await self._act("read", file=file))["content"])
            return data.decode() if text else data

        @classmethod
        async def sample_init(cls, task_name: str, config: Any, metadata: dict[str, str]) -> dict[str, Any]:
            key = _key_of_sample()
            box = cls(key, next(on_stage().boxes))
            await box._act("open")
            return {"default": box}

        @classmethod
        async def sample_cleanup(
            cls, task_name: str, config: Any, environments: dict[str, Any], interrupted: bool
        ) -> None:
            for box in environments.values():
                await box._act("close")


async def _asked(stage: Stage, key: str, messages: list[Any], handler: Any) -> tuple[int, str]:
    """Asks when the sample's earlier questions are answered; gives the turn's number and the reply."""
    sample = stage.samples[key]
    async with sample.turn:
        if sample.stopped:
            raise limit(sample.asked)
        if sample.solved:
            raise RuntimeError("the solver has ended: nothing more is answered")
        sample.asked += 1
        shown = _rendered(messages, sample, handler)
        answer = await stage.link.ask(key, "ask", sample=key, messages=shown, touched=sample.touched)
        if answer["do"] == "limit":
            sample.stopped = True
            raise limit(sample.asked - 1)
        return sample.asked, str(answer["text"])


_ERRORS: Final = {
    error.__name__: error
    for error in (FileNotFoundError, PermissionError, IsADirectoryError, TimeoutError, NotADirectoryError)
}


def _key_of_sample() -> str:
    from inspect_ai.solver._task_state import sample_state

    state = sample_state()
    if state is None:
        raise RuntimeError("a sandbox was asked for outside of a sample")
    return str(state.sample_id)


def _made_of(message: Any) -> tuple[str, tuple[str, ...]]:
    return message.text, tuple(call.id for call in message.tool_calls or ())


def _rendered(messages: list[Any], sample: Sample, handler: Any) -> list[dict[str, str]]:
    """Messages as our engines take them: one system's turn, then user and assistant in turns."""
    shown: list[dict[str, str]] = []
    for message in messages:
        role, text = message.role, message.text
        if role == "assistant":
            text = sample.written.get(_made_of(message)) or handler.assistant_message(message)["content"]
        elif role == "tool":
            result = handler.tool_message(message)["content"]
            role, text = "user", f"Result of {message.function or 'the call'}:\n{result}"
        elif role == "system" and any(earlier["role"] != "system" for earlier in shown):
            role = "user"
        if shown and shown[-1]["role"] == role:
            shown[-1]["content"] += f"\n\n{text}"
        else:
            shown.append({"role": role, "content": text})
    if not shown or shown[-1]["role"] != "user":
        shown.append({"role": "user", "content": GO_ON})
    return shown
