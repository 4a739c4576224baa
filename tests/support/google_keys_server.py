"""The fakes of `google_keys.py` behind gRPC on loopback, so that the services' own clients ask them."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import kms_v1, secretmanager_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport
from google.protobuf.empty_pb2 import Empty

_SERVICES = {"SecretManagerService": secretmanager_v1, "KeyManagementService": kms_v1}
_LISTED = {"ListSecrets": "secrets", "ListSecretVersions": "versions", "ListCryptoKeyVersions": "crypto_key_versions"}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, fakes) -> None:
        self._fakes = fakes

    def service(self, details):
        service, _, method = details.method.strip("/").rpartition("/")
        name = service.rpartition(".")[2]
        kind = getattr(_SERVICES[name], f"{method}Request")
        call = getattr(self._fakes[name], "".join(f"_{one.lower()}" if one.isupper() else one for one in method)[1:])
        answer = getattr(_SERVICES[name], f"{method}Response", None)

        def handle(request, context):
            try:
                given = call(request=request, timeout=context.time_remaining())
            except GoogleAPICallError as error:
                context.abort(error.grpc_status_code, "refused")
            if method in _LISTED:
                return answer(**{_LISTED[method]: given})
            return Empty() if given is None and method.startswith("Delete") else given

        def serialize(message):
            return message.SerializeToString() if isinstance(message, Empty) else type(message).serialize(message)

        return grpc.unary_unary_rpc_method_handler(handle, kind.deserialize, serialize)


@contextlib.contextmanager
def clients(secrets, kms):
    """Real clients of both services, answered by the fakes."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((_Handler({"SecretManagerService": secrets, "KeyManagementService": kms}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield (
            secretmanager_v1.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel)),
            kms_v1.KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel)),
        )
    finally:
        channel.close()
        server.stop(None).wait(timeout=10)
