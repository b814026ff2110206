# ALBERT on a CPU:
#   docker build -t albert .
#   docker run --rm -it -v "$PWD:/data" -w /data albert python /albert/run_squad_v1.py --help
FROM python:3.13-slim

COPY requirements.lock /albert/
RUN pip install --no-cache-dir -r /albert/requirements.lock
COPY . /albert/

WORKDIR /albert
CMD ["python", "examples/quickstart.py", "/tmp/quickstart"]
