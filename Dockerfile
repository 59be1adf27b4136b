# docker build -t photo-to-painting . && docker run --init -p 7860:7860 photo-to-painting
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 painter
WORKDIR /home/painter/app
COPY requirements.txt .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=painter . .
USER painter
EXPOSE 7860
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health')"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
