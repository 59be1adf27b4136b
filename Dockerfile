# docker build -t photo-to-painting . && docker run --init -p 7860:7860 photo-to-painting
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 painter
WORKDIR /home/painter/app
COPY requirements.txt .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=painter . .
USER painter
EXPOSE 7860
# trust_env=False: not through a proxy that Docker's own settings name.
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:7860/health', trust_env=False).raise_for_status()"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
