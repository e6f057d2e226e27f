"""The same service as a competent team writes it without GraphQL: FastAPI, SQLModel, two raw WebSockets.

Lists are by offset with a count, as page-number widgets want them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
import uvicorn
from broadcast import Broadcast
from fastapi import Depends, FastAPI, HTTPException, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from tables import (
    Execution,
    ExecutionEvent,
    ExecutionOut,
    ExecutionPage,
    ExpandedExecution,
    ExpandedPage,
    StartIn,
    Stats,
    StatusCount,
    Workflow,
    now,
)
from temporalio.client import Client

SECRET = os.environ["JWT_SECRET"]
CHANNELS = os.environ["REDIS_PREFIX"]
UNAUTHORIZED = 4401
HISTORY = 5
URL = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")

engine = create_async_engine(URL, pool_size=20, max_overflow=0)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
broadcast = Broadcast(os.environ["REDIS_URL"])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    await broadcast.open()
    address = os.environ.get("TEMPORAL_ADDRESS")
    yield {"temporal": await Client.connect(address) if address else None}
    await broadcast.close()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def open_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


def owner_of(token: str) -> str:
    """Who a token names; raises jwt.InvalidTokenError."""
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]})
    return str(claims["sub"])


async def authenticated(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    try:
        return owner_of(credentials.credentials)
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "The token is not valid") from error


def temporal_client(request: Request) -> Client:
    client: Client = request.state.temporal
    return client


Session = Annotated[AsyncSession, Depends(open_session)]
Owner = Annotated[str, Depends(authenticated)]
Temporal = Annotated[Client, Depends(temporal_client)]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0)]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/executions", response_model=ExecutionPage)
async def list_executions(session: Session, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> Any:
    """A page of the user's executions, newest first."""
    items = await newest(session, owner, limit, offset)
    return {"items": items, "total": await count(session, owner)}


@app.get("/executions/expanded", response_model=ExpandedPage)
async def list_expanded(session: Session, owner: Owner, limit: Limit = 50, offset: Offset = 0) -> Any:
    """A page of the user's executions, each with its workflow and its first five events."""
    items = await newest(session, owner, limit, offset)
    workflows = await workflows_of(session, items)
    histories = await histories_of(session, items)
    expanded = [
        ExpandedExecution(
            **each.model_dump(include={"id", "status", "created_at"}),
            workflow=workflows[each.workflow_id].model_dump(),
            history=[event.model_dump() for event in histories.get(each.id, [])],
        )
        for each in items
    ]
    return {"items": expanded, "total": await count(session, owner)}


@app.get("/executions/{execution_id}", response_model=ExecutionOut)
async def get_execution(session: Session, owner: Owner, execution_id: UUID) -> Any:
    """One execution."""
    execution = await session.get(Execution, execution_id)
    if execution is None or execution.owner_id != owner:
        raise HTTPException(404, "There is no such execution")
    return execution


@app.get("/stats", response_model=Stats)
async def get_stats(session: Session, owner: Owner) -> Any:
    """How many executions have each status."""
    query = select(Execution.status, func.count()).where(Execution.owner_id == owner)
    rows = (await session.exec(query.group_by(Execution.status))).all()
    counts = [StatusCount(status=status, count=number) for status, number in rows]
    return {"total": sum(each.count for each in counts), "by_status": counts}


@app.post("/executions", response_model=ExecutionOut, status_code=201)
async def start_execution(session: Session, owner: Owner, asked: StartIn, temporal: Temporal) -> Any:
    """Start a workflow."""
    workflow = await session.get(Workflow, asked.workflow_id)
    if workflow is None or workflow.owner_id != owner:
        raise HTTPException(404, "There is no such workflow")
    execution = await insert(session, workflow, asked.input)
    arguments = [] if asked.input is None else [asked.input]
    handle = await temporal.start_workflow(
        workflow.workflow_type,
        args=arguments,
        id=execution.temporal_workflow_id,
        task_queue=workflow.task_queue,
    )
    execution.status, execution.temporal_run_id = "RUNNING", handle.first_execution_run_id
    execution.started_at = execution.updated_at = now()
    execution.version += 1
    await session.commit()
    text = ExecutionOut.model_validate(execution).model_dump_json()
    await broadcast.publish(f"{CHANNELS}:feed:{owner}", text)
    return execution


@app.websocket("/ws/executions")
async def watch_all(socket: WebSocket) -> None:
    """What happens to the user's executions."""
    await relay(socket, "feed:{owner}")


@app.websocket("/ws/executions/{execution_id}")
async def watch_one(socket: WebSocket, execution_id: UUID) -> None:
    """What happens to one execution."""
    await relay(socket, f"execution:{{owner}}:{execution_id}")


async def relay(socket: WebSocket, channel: str) -> None:
    """Send a channel's messages to the socket until that closes."""
    try:
        owner = owner_of(socket.query_params.get("token", ""))
    except jwt.InvalidTokenError:
        return await socket.close(UNAUTHORIZED)
    await socket.accept()
    async with broadcast.subscribe(f"{CHANNELS}:{channel.format(owner=owner)}") as messages:
        sending = asyncio.create_task(send_all(socket, messages))
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            sending.cancel()


async def send_all(socket: WebSocket, messages: asyncio.Queue[str]) -> None:
    while True:
        await socket.send_text(await messages.get())


async def newest(session: AsyncSession, owner: str, limit: int, offset: int) -> Sequence[Execution]:
    query = select(Execution).where(Execution.owner_id == owner)
    query = query.order_by(col(Execution.created_at).desc(), col(Execution.id).desc())
    return (await session.exec(query.offset(offset).limit(limit))).all()


async def count(session: AsyncSession, owner: str) -> int:
    query = select(func.count()).select_from(Execution).where(Execution.owner_id == owner)
    return (await session.exec(query)).one()


async def workflows_of(session: AsyncSession, items: Sequence[Execution]) -> Mapping[UUID, Workflow]:
    ids = {each.workflow_id for each in items}
    found = (await session.exec(select(Workflow).where(col(Workflow.id).in_(ids)))).all()
    return {each.id: each for each in found}


async def histories_of(
    session: AsyncSession, items: Sequence[Execution]
) -> Mapping[UUID, list[ExecutionEvent]]:
    ids = [each.id for each in items]
    query = select(ExecutionEvent).where(
        col(ExecutionEvent.execution_id).in_(ids), col(ExecutionEvent.version) <= HISTORY
    )
    found: dict[UUID, list[ExecutionEvent]] = {}
    for event in await session.exec(query.order_by(col(ExecutionEvent.version))):
        found.setdefault(event.execution_id, []).append(event)
    return found


async def insert(session: AsyncSession, workflow: Workflow, input: Any) -> Execution:
    id = uuid4()
    execution = Execution(
        id=id,
        owner_id=workflow.owner_id,
        workflow_id=workflow.id,
        status="PENDING",
        version=1,
        input=input,
        started_by=workflow.owner_id,
        temporal_workflow_id=f"rest-{id}",
    )
    session.add(execution)
    await session.commit()
    return execution


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
