"""Every name that the engine takes from vLLM, each from where the installed release has it.

Importing this module imports vLLM and torch, so `compat` does it inside its functions; `backburner-worker --check`
does it to check that all of them exist. Nothing else imports vLLM.
"""

from starlette.datastructures import State
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingChatRequest, EmbeddingCompletionRequest
from vllm.entrypoints.pooling.scoring.protocol import (
    ScoreDataRequest,
    ScoreQueriesDocumentsRequest,
    ScoreQueriesItemsRequest,
    ScoreTextRequest,
)
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

try:
    from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
except ModuleNotFoundError as error:
    # Before 0.33. A missing library is reported as such.
    if not (error.name or "").startswith("vllm."):
        raise
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args

__all__ = [
    "AsyncEngineArgs",
    "AsyncLLM",
    "ChatCompletionRequest",
    "CompletionRequest",
    "EmbeddingChatRequest",
    "EmbeddingCompletionRequest",
    "EngineDeadError",
    "ErrorResponse",
    "FlexibleArgumentParser",
    "ResponsesRequest",
    "ScoreDataRequest",
    "ScoreQueriesDocumentsRequest",
    "ScoreQueriesItemsRequest",
    "ScoreTextRequest",
    "State",
    "UsageContext",
    "create_error_response",
    "current_platform",
    "init_app_state",
    "make_arg_parser",
    "validate_parsed_serve_args",
]
