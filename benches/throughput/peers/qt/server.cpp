// A Qt program of a few lines in place of tlsink: a QSslSocket for each incoming
// connection, whose available data is read and printed. It needs no moc.

#include <cstdio>

#include <QCoreApplication>
#include <QFile>
#include <QHostAddress>
#include <QSslCertificate>
#include <QSslKey>
#include <QSslSocket>
#include <QTcpServer>

class Server : public QTcpServer {
public:
    Server(const QSslCertificate &certificate, const QSslKey &key)
        : certificate(certificate), key(key) {}

protected:
    void incomingConnection(qintptr descriptor) override {
        auto *socket = new QSslSocket(this);
        connect(socket, &QSslSocket::readyRead, socket, [socket] {
            const QByteArray bytes = socket->readAll();
            std::fwrite(bytes.constData(), 1, static_cast<size_t>(bytes.size()), stdout);
            std::fflush(stdout);
        });
        connect(socket, &QSslSocket::disconnected, socket, &QObject::deleteLater);
        if (!socket->setSocketDescriptor(descriptor)) {
            socket->deleteLater();
            return;
        }
        socket->setLocalCertificate(certificate);
        socket->setPrivateKey(key);
        socket->startServerEncryption();
    }

private:
    QSslCertificate certificate;
    QSslKey key;
};

static QByteArray contents(const QString &name) {
    QFile file(name);
    if (!file.open(QIODevice::ReadOnly))
        qFatal("can't open %s", qPrintable(name));
    return file.readAll();
}

int main(int argc, char **argv) {
    QCoreApplication application(argc, argv);
    const QStringList arguments = application.arguments();
    if (arguments.size() != 4)
        qFatal("usage: server PORT CERT KEY");
    Server server(QSslCertificate(contents(arguments[2])), QSslKey(contents(arguments[3]), QSsl::Ec));
    server.setMaxPendingConnections(1024);
    if (!server.listen(QHostAddress::LocalHost, arguments[1].toUShort()))
        qFatal("%s", qPrintable(server.errorString()));
    return application.exec();
}
