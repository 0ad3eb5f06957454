"""`/v1/models`."""

from fastapi import APIRouter, Request

from backburner.gateway.models.catalogue import ModelObject, ModelPage
from backburner.gateway.parts import parts_of

router = APIRouter(tags=["models"])


@router.get("/v1/models", operation_id="list_models")
async def list_models(request: Request) -> ModelPage:
    """List the models that requests can name: base models, adapters and aliases."""
    return ModelPage(data=await parts_of(request).models.models())


@router.get("/v1/models/{model:path}", operation_id="retrieve_model")
async def retrieve_model(request: Request, model: str) -> ModelObject:
    """Retrieve one model."""
    return await parts_of(request).models.model(model)
