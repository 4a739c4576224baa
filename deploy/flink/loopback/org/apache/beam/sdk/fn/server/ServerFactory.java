package org.apache.beam.sdk.fn.server;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.beam.model.pipeline.v1.Endpoints.ApiServiceDescriptor;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.BindableService;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.Server;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.ServerInterceptors;
import org.apache.beam.vendor.grpc.v1p60p1.io.grpc.netty.NettyServerBuilder;

/** Makes the gRPC servers of job server and TaskManagers; in the place of Beam's, it binds loopback and nothing else. */
public abstract class ServerFactory {
  private static final int KEEP_ALIVE_SECONDS = 20;

  public static ServerFactory createDefault() {
    return new Loopback(() -> 0);
  }

  public static ServerFactory createWithPortSupplier(Supplier<Integer> port) {
    return new Loopback(port);
  }

  /** Makes a server on a port that is free and says which. */
  public abstract Server allocateAddressAndCreate(
      List<BindableService> services, ApiServiceDescriptor.Builder address) throws IOException;

  /** Makes a server on the port of an address; its host is not looked at. */
  public abstract Server create(List<BindableService> services, ApiServiceDescriptor address) throws IOException;

  private static final class Loopback extends ServerFactory {
    private static final String HOST = "127.0.0.1";
    private final Supplier<Integer> port;

    Loopback(Supplier<Integer> port) {
      this.port = port;
    }

    @Override
    public Server allocateAddressAndCreate(List<BindableService> services, ApiServiceDescriptor.Builder address)
        throws IOException {
      Server server = start(services, port.get());
      address.setUrl(HOST + ":" + server.getPort());
      return server;
    }

    @Override
    public Server create(List<BindableService> services, ApiServiceDescriptor address) throws IOException {
      String url = address.getUrl();
      return start(services, Integer.parseInt(url.substring(url.lastIndexOf(':') + 1)));
    }

    private static Server start(List<BindableService> services, int port) throws IOException {
      NettyServerBuilder builder =
          NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getByName(HOST), port))
              .maxInboundMessageSize(Integer.MAX_VALUE)
              .permitKeepAliveTime(KEEP_ALIVE_SECONDS, TimeUnit.SECONDS);
      for (BindableService service : services) {
        builder.addService(
            ServerInterceptors.intercept(service, GrpcContextHeaderAccessorProvider.interceptor()));
      }
      return builder.build().start();
    }
  }
}
