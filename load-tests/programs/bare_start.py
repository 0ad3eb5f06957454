"""A program: vLLM without a queue, from its start to the answer of one chat request, as a batch script would begin.

It has no code of Backburner's: `AsyncLLM` and vLLM's own OpenAI serving objects, with the environment and arguments
that it gets. It prints a line when it has the answer.
"""

import asyncio
import json
import sys


async def main(question: str, arguments: list[str]) -> None:
    """Load, answer, print, end."""
    from starlette.datastructures import State
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    args = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(args))
    state = State()
    await init_app_state(engine, state, args, await engine.get_supported_tasks())
    request = ChatCompletionRequest.model_validate_json(question)
    answer = await state.openai_serving_chat.create_chat_completion(request, None)
    print(json.dumps({"tokens": answer.usage.completion_tokens}), flush=True)
    engine.shutdown(timeout=10)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
